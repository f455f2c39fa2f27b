"""Masked rounds between real participants and a real server, over real sockets."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import httpx
import numpy as np
import pytest
import trio

from disco.core.masking.words import MaskedMessage, Roster, SharesRelayed, Survivors
from disco.core.weights import Float32s
from disco.errors import ConnectionLost, ProtocolViolation, Refused, StorageError
from disco.participant import BlockingParticipant, News, NewsKind, Participant
from disco.runtime.keeper import Keeper
from disco.settings import Aggregation
from tests.conftest import Server, ServerFactory
from tests.participant.together import contribute, exchange_together

#: What each phase asks, by the phase's name.
DEMANDS: dict[str, type[MaskedMessage]] = {
    "sharing": Roster,
    "masking": SharesRelayed,
    "revealing": Survivors,
}


async def joined(stack: AsyncExitStack, server: Server, count: int, **options: Any) -> list[Participant]:
    return [await stack.enter_async_context(Participant(server.url, "tiny", **options)) for _ in range(count)]


def near(model: list[Float32s], value: float) -> None:
    for tensor in model:
        np.testing.assert_allclose(tensor, value, atol=1e-6)


def instead(participant: Participant, demand: type[MaskedMessage], act: Callable[[], object]) -> None:
    """Have a participant do something else when it is asked for its step in a phase; in its worker thread."""
    attendance: Any = participant._attendance
    answer = attendance._answer

    def changed(member: object, asked: MaskedMessage, made: object) -> bytes:
        if isinstance(asked, demand):
            act()
            raise ConnectionLost("gone")
        data: bytes = answer(member, asked, made)
        return data

    attendance._answer = changed


# ── Everybody stays ──────────────────────────────────────────────────────────────────────────────────────


async def test_everybody_gets_the_mean_each_round(serve: ServerFactory) -> None:
    async with serve() as server, AsyncExitStack() as stack:
        participants = await joined(stack, server, 5)
        for number in range(3):
            models = await exchange_together(
                {participant: number + place / 4 for place, participant in enumerate(participants)}
            )
            for model in models:
                near(model, number + 0.5)
            assert {participant.round for participant in participants} == {number + 1}


async def test_a_masked_round_stands_with_its_figures_like_any_other(serve: ServerFactory) -> None:
    async with serve() as server, AsyncExitStack() as stack:
        participants = await joined(stack, server, 3)
        await exchange_together(dict.fromkeys(participants, 1.0))
        async with httpx.AsyncClient() as client:
            rounds = (await client.get(f"{server.url}/tasks/tiny/rounds")).json()["rounds"]
            served = (await client.get(f"{server.url}/tasks/tiny")).json()
        latest = max(rounds, key=lambda each: each["round"])
        assert (latest["round"], latest["participants"], latest["contributions"]) == (1, 3, 3)
        assert served["aggregation"]["masking"] == {"range": 16.0, "dropouts": 1 / 3, "phaseSeconds": 60.0}
        assert server.app.metrics.value("contributions", task="tiny", outcome="accepted") == 3


async def test_a_blocking_participant_masks_too(serve: ServerFactory) -> None:
    async with serve() as server, AsyncExitStack() as stack:
        others = await joined(stack, server, 2)

        def block() -> list[Float32s]:
            with BlockingParticipant(server.url, "tiny") as participant:
                return participant.exchange([np.ones(tensor.shape) for tensor in participant.weights])

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for other, value in zip(others, (2.0, 3.0), strict=True):
                    nursery.start_soon(contribute, other, value)
                near(await trio.to_thread.run_sync(block), 2.0)


async def test_an_optimizer_takes_the_mean_as_from_any_round(serve: ServerFactory) -> None:
    optimizer = 'optimizer = { name = "fedavgm", learningRate = 0.5, momentum = 0.0 }'
    async with serve(optimizer=optimizer) as server, AsyncExitStack() as stack:
        participants = await joined(stack, server, 3)
        before = participants[0].weights
        models = await exchange_together(dict.fromkeys(participants, 1.0))
        for tensor, start in zip(models[0], before, strict=True):
            np.testing.assert_allclose(tensor, (start + 1) / 2, atol=1e-6)


# ── Some drop out ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("phase", DEMANDS)
async def test_the_round_closes_without_a_third_that_leaves(serve: ServerFactory, phase: str) -> None:
    async with serve() as server, AsyncExitStack() as stack:
        participants = await joined(stack, server, 4)
        models: list[list[Float32s]] = []

        async def leave_in_between() -> None:
            with trio.CancelScope() as stay, suppress(Refused, ConnectionLost):
                async with Participant(server.url, "tiny") as leaving:
                    instead(leaving, DEMANDS[phase], lambda: trio.from_thread.run_sync(stay.cancel))
                    ready.set()
                    await contribute(leaving, 3.0)

        async def stay(participant: Participant) -> None:
            models.append(await contribute(participant, 1.0))

        ready = trio.Event()
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    ready = trio.Event()
                    nursery.start_soon(leave_in_between)
                    await ready.wait()
                for participant in participants:
                    nursery.start_soon(stay, participant)
        # Who left while shares were revealed had delivered.
        for model in models:
            near(model, 5 / 3 if phase == "revealing" else 1.0)


@pytest.mark.parametrize("phase", DEMANDS)
async def test_the_round_closes_without_one_that_falls_silent(serve: ServerFactory, phase: str) -> None:
    async with serve("range = 16.0, phaseSeconds = 2.0") as server, AsyncExitStack() as stack:
        *participants, silent = await joined(stack, server, 4)
        instead(silent, DEMANDS[phase], lambda: None)
        models = await exchange_together({**dict.fromkeys(participants, 1.0), silent: 3.0})
        for model in models:
            near(model, 1.5 if phase == "revealing" else 1.0)


async def test_a_round_that_too_few_go_through_begins_again_and_closes_with_who_is_left(
    serve: ServerFactory, caplog: pytest.LogCaptureFixture
) -> None:
    news: list[News] = []
    async with serve("range = 16.0, dropouts = 0.0") as server, AsyncExitStack() as stack:
        participants = await joined(stack, server, 3, on_news=news.append)
        models: list[list[Float32s]] = []

        async def leave_in_between() -> None:
            with trio.CancelScope() as stay, suppress(Refused, ConnectionLost):
                async with Participant(server.url, "tiny") as leaving:
                    instead(leaving, SharesRelayed, lambda: trio.from_thread.run_sync(stay.cancel))
                    ready.set()
                    await contribute(leaving, 9.0)

        async def stay(participant: Participant) -> None:
            models.append(await contribute(participant, 1.0))

        ready = trio.Event()
        with trio.fail_after(10), caplog.at_level(logging.WARNING):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(leave_in_between)
                await ready.wait()
                for participant in participants:
                    nursery.start_soon(stay, participant)
        for model in models:
            near(model, 1.0)
        assert "the round begins again: 3 of 4 members delivered, and it takes 4" in caplog.text
        assert server.app.metrics.value("masked_rounds_abandoned", task="tiny") == 1
        remarks = [each.reason for each in news if each.kind is NewsKind.REMARK]
        assert len(remarks) == 3
        assert "it takes 4" in remarks[0]


async def test_who_comes_while_a_round_is_under_way_gets_its_model_and_is_in_the_next(
    serve: ServerFactory,
) -> None:
    async with serve() as server, AsyncExitStack() as stack:
        participants = await joined(stack, server, 3)
        reached, go_on = trio.Event(), trio.Event()
        attendance: Any = participants[0]._attendance
        answer = attendance._answer

        def slowly(member: object, asked: MaskedMessage, made: object) -> bytes:
            if isinstance(asked, SharesRelayed):
                trio.from_thread.run_sync(reached.set)
                trio.from_thread.run(go_on.wait)
            data: bytes = answer(member, asked, made)
            return data

        attendance._answer = slowly
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for participant in participants:
                    nursery.start_soon(contribute, participant, 1.0)
                await reached.wait()
                async with Participant(server.url, "tiny") as late:
                    async with trio.open_nursery() as its_own:
                        its_own.start_soon(contribute, late, 9.0)
                        while not server.app.metrics.value("contributions", task="tiny", outcome="discarded"):
                            await trio.lowlevel.checkpoint()
                        go_on.set()
                    near(late.weights, 1.0)
                    models = await exchange_together({**dict.fromkeys(participants, 1.0), late: 5.0})
        near(models[0], 2.0)


# ── What participants refuse ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda arrays: [np.full_like(arrays[0], np.nan), *arrays[1:]], "not finite"),
        (lambda arrays: [arrays[0].T, *arrays[1:]], "the model has"),
    ],
)
async def test_what_the_server_could_not_see_is_refused_by_the_participant(
    serve: ServerFactory, spoil: Callable[[list[Float32s]], list[Float32s]], reason: str
) -> None:
    async with serve() as server, Participant(server.url, "tiny") as participant:
        with pytest.raises(Refused, match=reason):
            await participant.exchange(spoil(participant.weights))


async def test_changes_beyond_the_range_count_as_the_range_and_the_log_says_so(
    serve: ServerFactory, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve("range = 0.5") as server, AsyncExitStack() as stack:
        participants = await joined(stack, server, 3)
        base = participants[0].weights
        models = await exchange_together(dict.fromkeys(participants, 10.0))
        for tensor, before in zip(models[0], base, strict=True):
            np.testing.assert_allclose(tensor, before + 0.5, atol=1e-6)
        assert "13 of 13 changes are beyond the task's aggregation.masking.range, 0.5" in caplog.text


async def test_a_group_that_shares_a_secret_masks_among_itself(serve: ServerFactory) -> None:
    async with serve() as server, AsyncExitStack() as stack:
        participants = await joined(stack, server, 3, group_secret="we")
        near((await exchange_together(dict.fromkeys(participants, 1.0)))[0], 1.0)


async def test_who_does_not_know_the_group_s_secret_is_in_no_sum_with_it(serve: ServerFactory) -> None:
    async with serve() as server, AsyncExitStack() as stack:
        members = await joined(stack, server, 3, group_secret="we")
        present = trio.Event()

        async def try_it() -> None:
            async with Participant(server.url, "tiny", group_secret="they") as stranger:
                present.set()
                with pytest.raises(Refused, match="other keys than the server says, or another group secret"):
                    await contribute(stranger, 100.0)

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(try_it)
                await present.wait()
                near((await exchange_together(dict.fromkeys(members, 1.0)))[0], 1.0)


async def test_a_group_does_not_contribute_to_a_task_that_masks_nothing(server: Server) -> None:
    with pytest.raises(Refused, match="masks nothing"):
        async with Participant(server.url, "tiny", group_secret="we"):
            raise AssertionError


async def test_a_server_that_asks_for_what_it_must_not_have_gets_nothing(serve: ServerFactory) -> None:
    async with serve() as server, AsyncExitStack() as stack:
        participants = await joined(stack, server, 3)

        def too_much() -> None:
            raise ProtocolViolation("the server asked to reveal out of turn")

        instead(participants[0], Survivors, too_much)
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for participant in participants[1:]:
                    nursery.start_soon(contribute, participant, 1.0)
                with pytest.raises(Refused, match="the contribution stays masked: the server asked"):
                    await contribute(participants[0], 1.0)


# ── Restart ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_server_that_restarts_goes_on_from_the_stored_round(serve: ServerFactory) -> None:
    async with serve() as server, AsyncExitStack() as stack:
        participants = await joined(stack, server, 3)
        await exchange_together(dict.fromkeys(participants, 2.0))
    async with serve() as server, AsyncExitStack() as stack:
        participants = await joined(stack, server, 3)
        assert participants[0].round == 1
        near(participants[0].weights, 2.0)
        near((await exchange_together(dict.fromkeys(participants, 3.0)))[0], 3.0)


async def test_participants_of_a_round_that_a_restart_interrupts_begin_it_again(serve: ServerFactory) -> None:
    models: list[list[Float32s]] = []

    async def take_part(url: str, value: float) -> None:
        async with Participant(url, "tiny") as participant:
            models.append(await contribute(participant, value))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            async with serve() as server:
                port = int(server.url.rpartition(":")[2])
                for _ in range(2):
                    nursery.start_soon(take_part, server.url, 1.0)
                session: Any = server.app.directory.get("tiny").session
                while len(session._gathering.waiting) < 2:
                    await trio.lowlevel.checkpoint()
            async with serve(port=port) as again:
                await take_part(again.url, 4.0)
                while len(models) < 3:
                    await trio.lowlevel.checkpoint()
    for model in models:
        near(model, 2.0)


async def test_a_store_that_refuses_for_a_while_costs_no_contribution(
    serve: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, refusals = Keeper.save_round, iter(range(2))

    async def refuse_twice(*values: Any) -> None:
        for _ in refusals:
            raise StorageError("the disk is full")
        await save(*values)

    monkeypatch.setattr(Keeper, "save_round", refuse_twice)
    async with serve(aggregation=Aggregation(retry=0.05)) as server, AsyncExitStack() as stack:
        participants = await joined(stack, server, 3)
        near((await exchange_together(dict.fromkeys(participants, 1.0)))[0], 1.0)
        assert not server.app.metrics.value("masked_rounds_abandoned", task="tiny")
