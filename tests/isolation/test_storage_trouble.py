"""A disk that refuses while the server runs: training pauses, everybody is told, and it goes on when there is room."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
import trio

from disco.participant import News, NewsKind, Participant
from disco.settings import Aggregation
from tests.access.http import ask
from tests.access.test_gate import submission
from tests.conftest import Server, ServerFactory
from tests.isolation.disk import Disk
from tests.web.clients import PATIENCE, Client, connected, packed, post, v2
from tests.web.test_federated_sockets import latest, mean, same, update


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
async def server(start: ServerFactory) -> AsyncIterator[Server]:
    """A server that tries a round again soon."""
    async with start(aggregation=Aggregation(retry=0.2)) as running_server:
        yield running_server


async def state(server: Server) -> tuple[str, str]:
    answer = (await ask(server.url + "/tasks/tiny")).json["state"]
    return answer["state"], answer["reason"]


async def until(check: Callable[[], Any]) -> None:
    with trio.fail_after(PATIENCE):
        while not await check():  # each check is a round trip
            pass


async def join(server: Server, socket: Client) -> None:
    await socket.say(type="ClientConnected", extensions=["verdicts"])
    assert (await socket.hear())["type"] == "NewFederatedNodeInfo"


@pytest.mark.parametrize("trouble", [Disk.fill, Disk.turn_read_only])
async def test_a_round_that_cannot_be_stored_pauses_is_told_and_goes_on(
    server: Server, disk: Disk, trouble: Callable[[Disk], None]
) -> None:
    url = f"{server.ws}/federated/tiny"
    async with connected(url) as one, connected(url) as two:
        await join(server, one)
        await join(server, two)
        trouble(disk)
        for seed, participant in enumerate((one, two)):
            payload = packed(update(seed))
            await participant.say(type="SendPayload", payload=payload, round=0, key=f"key {seed}")
            assert (await participant.hear_type("ContributionVerdict"))["outcome"] == "accepted"
        for participant in (one, two):
            told = await participant.hear_type("ContributionVerdict")
            assert told["outcome"] == "accepted"
            assert "tried again" in told["reason"]
        where, why = await state(server)
        assert where == "paused"
        assert "round 1 cannot be stored" in why
        refused = await ask(server.url + "/tasks", "POST", submission("posted"))
        assert (refused.status, "retry-after" in refused.headers) == (503, True)
        assert (await ask(server.url + "/tasks/posted")).status == 404
        disk.recover()
        for participant in (one, two):
            pushed = await participant.hear_type("ReceiveServerPayload")
            assert pushed["round"] == 1
        assert await state(server) == ("running", "")
    assert (await ask(server.url + "/tasks", "POST", submission("posted"))).status == 201


async def test_v2_participants_wait_and_then_get_the_round(server: Server, disk: Disk) -> None:
    async with v2(server.ws) as one, v2(server.ws) as two:
        disk.fill()
        await post(one, update(1), 0)
        await post(two, update(2), 0)
        assert (await latest(one))[0] == 0
        disk.recover()
        await until(lambda: _at(one, 1))
        assert same((await latest(two))[1], mean(update(1), update(2)))


async def _at(participant: Client, round_: int) -> bool:
    return (await latest(participant))[0] == round_


async def _is(server: Server, word: str) -> bool:
    return (await state(server))[0] == word


async def test_python_participants_are_told_and_just_wait(server: Server, disk: Disk) -> None:
    results: list[Any] = []
    told: list[News] = []

    async def take_part(seed: int) -> None:
        async with Participant(server.url, "tiny", on_news=told.append) as participant:
            here.append(seed)
            if len(here) == 2:
                everybody.set()
            await everybody.wait()
            results.append(await participant.exchange(update(seed)))

    here: list[int] = []
    everybody = trio.Event()
    disk.fill()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_part, 1)
            nursery.start_soon(take_part, 2)
            await until(lambda: _is(server, "paused"))
            disk.recover()
    assert all(same(result, mean(update(1), update(2))) for result in results)
    remarks = [news.reason for news in told if news.kind is NewsKind.REMARK]
    assert len(remarks) >= 2
    assert all("it counts, but the round cannot be closed now" in remark for remark in remarks)


async def test_a_contribution_resent_after_a_restart_does_not_count_twice(
    start: ServerFactory, settings: Any
) -> None:
    def say(seed: int, key: str) -> dict[str, Any]:
        return {"type": "SendPayload", "payload": packed(update(seed)), "round": 0, "key": key}

    async with start() as server:
        url = f"{server.ws}/federated/tiny"
        async with connected(url) as one, connected(url) as two:
            await join(server, one)
            await join(server, two)
            await one.say(**say(1, "one"))
            await two.say(**say(2, "two"))
            await two.hear_type("ReceiveServerPayload")
    async with start() as server:
        url = f"{server.ws}/federated/tiny"
        async with connected(url) as one, connected(url) as two:
            await join(server, one)
            await join(server, two)
            await one.say(**say(1, "one"))
            verdict = await one.hear_type("ContributionVerdict")
            assert (verdict["outcome"], verdict["round"], verdict["key"]) == ("accepted", 0, "one")
            assert (await one.hear_type("ReceiveServerPayload"))["round"] == 1
            await one.say(**say(1, "never sent before"))
            assert (await one.hear_type("ContributionVerdict"))["outcome"] == "discarded"
            await one.hear_type("ReceiveServerPayload")
            facts = (await ask(server.url + "/tasks/tiny")).json["state"]
            assert (facts["round"], facts["contributions"]) == (1, 0)


async def test_an_update_further_than_the_norm_bound_is_refused_and_told_why(server: Server) -> None:
    document = (await ask(server.url + "/tasks/tiny")).json
    document.pop("state")
    document["aggregation"] = {"maxNorm": 10.0}
    assert (await ask(server.url + "/tasks/tiny", "PUT", json.dumps(document).encode())).status == 200
    async with connected(f"{server.ws}/federated/tiny") as one:
        await join(server, one)
        far = [np.full_like(array, 1000.0) for array in update(1)]
        await one.say(type="SendPayload", payload=packed(far), round=0, key="far")
        verdict = await one.hear_type("ContributionVerdict")
        assert verdict["outcome"] == "rejected"
        assert "aggregation.maxNorm, 10" in verdict["reason"]
        await one.hear_type("ReceiveServerPayload")
        await one.say(type="SendPayload", payload=packed(update(1)), round=0, key="near")
        assert (await one.hear_type("ContributionVerdict"))["outcome"] == "accepted"
