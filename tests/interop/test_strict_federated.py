"""Federated training with clients that are as strict as discojs's of v3 and v4, over real sockets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing
from numpy.typing import NDArray

from disco.participant import Participant as PythonParticipant
from tests.conftest import Server, ServerFactory
from tests.interop.conftest import OpenPage, TinyTask
from tests.interop.strict.driver import PATIENCE, Page, Participant, arrays
from tests.web.clients import post, unpacked, v2

pytestmark = pytest.mark.interop

Arrays = Sequence[NDArray[np.float32]]
WAITING, ENOUGH, UPDATE = "WaitingForMoreParticipants", "EnoughParticipants", "ParticipantsUpdate"
MODEL = "ReceiveServerPayload"

both = pytest.mark.parametrize("dialect", ["v3", "v4"])


def people(page: Page, names: str = "abc") -> list[Participant]:
    return [Participant(page, name) for name in names]


async def exchange(*participants: Participant, seed: int = 1, **arguments: Any) -> list[Mapping[str, Any]]:
    """Let everybody train and contribute at once; what each got, in their order."""
    results: dict[str, Mapping[str, Any]] = {}

    async def run(participant: Participant, own: int) -> None:
        results[participant.name] = await participant.exchange(seed=own, **arguments)

    async with trio.open_nursery() as nursery:
        for place, participant in enumerate(participants):
            nursery.start_soon(run, participant, 10 * seed + place)
    return [results[participant.name] for participant in participants]


def require_mean(got: Arrays, *sent: Arrays) -> None:
    """Require the exact mean, to one unit in the last place of float32."""
    for place, tensor in enumerate(got):
        wanted = np.mean([each[place].astype(np.float64) for each in sent], axis=0).astype(np.float32)
        np.testing.assert_array_max_ulp(tensor, wanted, maxulp=1)


def require_round(results: Sequence[Mapping[str, Any]], number: int) -> None:
    """Require that everybody adopted this round's model, which is the mean of what they sent."""
    sent = [arrays(result["sent"]) for result in results]
    for result in results:
        assert (result["round"], result["adopted"]) == (number, True)
        require_mean(arrays(result["weights"]), *sent)


async def counted(server: Server, contributions: int) -> None:
    """Wait until the server has counted this many contributions to the current round."""
    session = server.app.directory.get("tiny").session
    assert session is not None
    with trio.fail_after(PATIENCE):
        while len(session.contributors) < contributions:
            await trio.lowlevel.checkpoint()


# ── Rounds ───────────────────────────────────────────────────────────────────────────────────────────────


@both
async def test_rounds_end_with_the_exact_mean_at_every_client(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    async with strict(server.url) as page:
        clients = people(page)
        for client in clients:
            await client.connected(dialect)
        for number in (1, 2, 3):
            require_round(await exchange(*clients, seed=number), number)


async def test_clients_of_every_generation_and_of_python_train_one_model(
    server: Server, strict: OpenPage
) -> None:
    async with (
        strict(server.url) as page,
        v2(server.ws) as oldest,
        PythonParticipant(server.url, "tiny") as python,
    ):
        third, fourth = people(page, "ab")
        await third.connected("v3")
        await fourth.connected("v4")
        for number in (1, 2):
            own = [np.random.default_rng(number).standard_normal(t.shape) for t in python.weights]
            exact = [tensor.astype(np.float32) for tensor in own]
            old = [tensor / np.float32(3) for tensor in exact]
            await post(oldest, old, number - 1)
            got: list[Arrays] = []

            async def train(mine: Arrays = exact, found: list[Arrays] = got) -> None:
                found.append(await python.exchange(mine))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(train)
                results = await exchange(third, fourth, seed=number)
            sent = [old, exact, *(arrays(result["sent"]) for result in results)]
            latest = await oldest.ask(type=11)
            assert latest["round"] == number
            everybody = [
                unpacked(latest["weights"]),
                *got,
                *(arrays(result["weights"]) for result in results),
            ]
            for model in everybody:
                require_mean(model, *sent)
                assert all(map(np.array_equal, model, everybody[0])), "two got different models"


# ── Waiting for participants ─────────────────────────────────────────────────────────────────────────────


async def test_v4_clients_hear_of_every_join_and_leave_once_issue_707(
    server: Server, strict: OpenPage
) -> None:
    async with strict(server.url) as page:
        a, b, c = people(page)
        answer = await a.connected("v4")
        assert (answer["waiting"], answer["participants"]) == (True, 1)
        answer = await b.connected("v4")
        assert (answer["waiting"], answer["participants"]) == (False, 2)
        await c.connected("v4")
        await a.until(type=UPDATE)
        await exchange(a, b, c)
        await c.leave()
        await a.until(type=UPDATE, count=2)
        await b.leave()
        await a.until(type=WAITING)
        await b.connected("v4")
        await a.until(type=ENOUGH, count=2)
        assert await a.counts() == [
            ("NewFederatedNodeInfo", 1), (ENOUGH, 2), (UPDATE, 3), (MODEL, 3), (UPDATE, 2), (WAITING, 1), (ENOUGH, 2),
        ]  # fmt: skip
        assert await b.counts() == [("NewFederatedNodeInfo", 2)], "a newcomer hears of its own joining once"


async def test_v3_clients_hear_when_to_wait_and_when_to_go_on(server: Server, strict: OpenPage) -> None:
    async with strict(server.url) as page:
        a, b, c = people(page)
        await a.connected("v3")
        await b.connected("v3")
        await c.connected("v3")
        await exchange(a, b, c)
        await c.leave()
        await b.leave()
        await a.until(type=WAITING)
        await b.connected("v3")
        await a.until(type=ENOUGH, count=2)
        kinds = [kind for kind, _ in await a.counts()]
        assert kinds == ["NewFederatedNodeInfo", ENOUGH, MODEL, WAITING, ENOUGH]


@both
async def test_a_leave_in_a_clients_first_training_does_not_kill_it(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    async with strict(server.url) as page:
        a, b = people(page, "ab")
        await a.connected(dialect)  # it waits, and clears that only when it has trained
        for returns in range(1, 4):
            await b.connected(dialect)
            if returns == 1:
                await a.until(type=ENOUGH)
            await b.leave()
        await b.connected(dialect)
        require_round(await exchange(a, b), 1)


@both
async def test_a_client_that_waits_contributes_once_there_are_enough(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    async with strict(server.url) as page:
        a, b = people(page, "ab")
        await a.connected(dialect)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchange, a)
            await trio.testing.wait_all_tasks_blocked()
            assert (await a.state())["waiting"]
            await b.connected(dialect)
            result = await b.exchange(seed=2)
        assert result["round"] == 1


@both
async def test_a_client_left_alone_after_a_round_waits_and_goes_on_with_who_comes(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    async with strict(server.url) as page:
        a, b, c = people(page)
        await a.connected(dialect)
        await b.connected(dialect)
        for number in (1, 2):
            await exchange(a, b, seed=number)
            await b.leave()
            await a.until(type=WAITING, count=number)
            await b.connected(dialect)
            await a.until(type=ENOUGH, count=number + 1)
        await b.leave()
        await c.connected(dialect)
        require_round(await exchange(a, c, seed=3), 3)


# ── Joining late, and coming back ────────────────────────────────────────────────────────────────────────


@both
async def test_a_late_joiner_gets_the_round_and_the_weights(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    async with strict(server.url) as page:
        a, b, c = people(page)
        first = await a.connected(dialect)
        assert (first["round"], first["nil"]) == (0, dialect == "v4")
        await b.connected(dialect)
        [result, _] = await exchange(a, b)
        answer = await c.connected(dialect)
        assert (answer["round"], answer["nil"], answer["participants"]) == (1, False, 3)
        assert all(map(np.array_equal, arrays((await c.state())["weights"]), arrays(result["weights"])))
        require_round(await exchange(a, b, c, seed=2), 2)


@both
async def test_at_round_0_the_weights_are_those_of_model_json(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    async with strict(server.url) as page:
        [a] = people(page, "a")
        await a.connected(dialect)
        initial = server.app.directory.get("tiny").model.weights.arrays()
        assert all(map(np.array_equal, arrays((await a.state())["weights"]), initial))


@both
async def test_a_stale_client_recovers_at_once_issue_1220(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    """DISCO #1220: a stale client was told `round - 1`, and so stayed stale for ever."""
    async with strict(server.url) as page:
        a, b = people(page, "ab")
        await a.connected(dialect)
        await b.connected(dialect)
        await exchange(a, b)
        late = await a.exchange(seed=7, round=0)
        assert (late["round"], late["adopted"]) == (1, False)
        require_round(await exchange(a, b, seed=2), 2)


@both
async def test_who_left_takes_nobodys_place_issue_1221(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    """DISCO #1221: what somebody had contributed who left counted as the contribution of one who is present."""
    async with strict(server.url) as page:
        a, b, c = people(page)
        for client in (a, b, c):
            await client.connected(dialect)
        gone = await c.contribute(seed=9)
        await counted(server, 1)
        await c.leave()
        kept = await a.contribute(seed=8)
        await counted(server, 2)
        assert MODEL not in [kind for kind, _ in await a.counts()], "b is present and is waited for"
        result = await b.exchange(seed=7)
        assert result["round"] == 1
        require_mean(arrays(result["weights"]), *(arrays(each["sent"]) for each in (gone, kept, result)))


@both
async def test_recovery_in_the_first_round_answers_round_0_issue_1222(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    """DISCO #1222: who had to recover in the first round was told round -1, which the strict client refuses."""
    async with strict(server.url) as page:
        a, b = people(page, "ab")
        await a.connected(dialect)
        await b.connected(dialect)
        answer = await a.exchange(seed=1, round=5)
        assert (answer["round"], answer["adopted"]) == (0, False)
        require_round(await exchange(a, b), 1)


@both
async def test_a_contribution_for_a_future_round_does_not_count(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    async with strict(server.url) as page:
        a, b = people(page, "ab")
        await a.connected(dialect)
        await b.connected(dialect)
        await exchange(a, b)
        early = await a.exchange(seed=5, round=2)
        assert (early["round"], early["adopted"]) == (1, False)
        require_round(await exchange(a, b, seed=2), 2)


@both
async def test_a_second_contribution_to_a_round_does_not_count(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    async with strict(server.url) as page:
        a, b = people(page, "ab")
        await a.connected(dialect)
        await b.connected(dialect)
        first = await a.contribute(seed=1)
        await counted(server, 1)
        await a.contribute(seed=2)
        result = await b.exchange(seed=3)
        await a.until(type=MODEL)
        require_mean(arrays(result["weights"]), arrays(first["sent"]), arrays(result["sent"]))
        assert [kind for kind, _ in await a.counts()].count(MODEL) == 1, "its result is the round's, once"


@both
async def test_hello_again_is_a_retry(server: Server, strict: OpenPage, dialect: str) -> None:
    async with strict(server.url) as page:
        a, b = people(page, "ab")
        answer = await a.connected(dialect)
        await b.connected(dialect)
        again = await a.hello()
        assert (again["id"], again["participants"], again["waiting"]) == (answer["id"], 2, False)
        await exchange(a, b)
        assert (await a.hello())["round"] == 1
        heard = {kind for kind, _ in await b.counts()}
        assert heard == {"NewFederatedNodeInfo", MODEL}, "the others hear nothing of it"


@both
async def test_a_contribution_before_hello_neither_counts_nor_is_waited_for(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    async with strict(server.url) as page:
        a, b, c = people(page)
        await a.connected(dialect)
        await b.connected(dialect)
        await c.open(dialect=dialect, task="tiny")
        await c.contribute(seed=100)
        answer = await c.hello()
        assert answer["participants"] == 3
        await c.leave()
        require_round(await exchange(a, b), 1)


@both
async def test_leaving_closes_the_round_for_those_who_have_contributed(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    async with strict(server.url) as page:
        a, b, c = people(page)
        for client in (a, b, c):
            await client.connected(dialect)
        sent = [await a.contribute(seed=1), await b.contribute(seed=2)]
        await counted(server, 2)
        await c.leave()
        await a.until(type=MODEL)
        session = server.app.directory.get("tiny").session
        assert session is not None
        require_mean(session.weights.arrays(), *(arrays(each["sent"]) for each in sent))


@both
@pytest.mark.parametrize("reset", [False, True])
async def test_the_model_is_kept_or_forgotten_when_the_last_leaves_as_the_task_says(
    start: ServerFactory, strict: OpenPage, tiny_task: TinyTask, dialect: str, reset: bool
) -> None:
    folder = tiny_task(sections=f"\n[session]\nresetWhenEmpty = {str(reset).lower()}\n")
    async with start(tasks_dir=folder) as server, strict(server.url) as page:
        a, b = people(page, "ab")
        await a.connected(dialect)
        await b.connected(dialect)
        await exchange(a, b)
        await a.leave()
        await b.leave()
        entry = server.app.directory.get("tiny")
        with trio.fail_after(PATIENCE):
            while entry.session is None or entry.session.present:
                await trio.lowlevel.checkpoint()
        answer = await a.connected(dialect)
        assert answer["round"] == (0 if reset else 1)
        if reset:
            initial = entry.model.weights.arrays()
            assert all(map(np.array_equal, arrays((await a.state())["weights"]), initial))
