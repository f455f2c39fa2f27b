"""The end of a training: real participants of all dialects, the API, restarts, and going on again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import trio

from disco.errors import Refused
from disco.participant import BlockingParticipant, Participant, TrainingEnded
from disco.settings import Aggregation
from tests.access.http import ask
from tests.conftest import Server, ServerFactory
from tests.evaluation.scorers import Gated, Unscored
from tests.evaluation.serving import counted, ended, judged, rounds, state
from tests.participant.together import contribute, exchange_together, filled

#: Ends with round 2: its participants report the same figure for both rounds.
PATIENT = {"stopping": {"figure": "participants.loss", "mode": "min", "patience": 1}}
WHY = "participants.loss has not improved on 5 of round 1 in 1 round"
SAID = f"the training has ended: {WHY}"


async def report(participant: Participant, value: float, loss: float = 5.0) -> None:
    await participant.exchange(filled(participant, value), metrics={"loss": loss})


async def train_to_the_end(*participants: Participant) -> None:
    for value in (1.0, 2.0):
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for participant in participants:
                    nursery.start_soon(report, participant, value)


@asynccontextmanager
async def trained(start: ServerFactory) -> AsyncIterator[tuple[Server, Participant]]:
    """A server whose training has ended, and one of those who took part."""
    async with (
        start(providers=[Unscored(**PATIENT)]) as server,
        Participant(server.url, "scored") as one,
        Participant(server.url, "scored") as two,
    ):
        await train_to_the_end(one, two)
        yield server, one


async def test_a_participants_loop_ends_with_the_last_model_at_hand(start: ServerFactory) -> None:
    async with trained(start) as (_, one):
        assert one.ended == WHY
        np.testing.assert_array_equal(one.weights[0], filled(one, 2.0)[0])
        with pytest.raises(TrainingEnded, match=SAID):
            await contribute(one, 3.0)


async def test_the_end_is_in_the_api_and_in_the_metrics(start: ServerFactory) -> None:
    async with trained(start) as (server, _):
        found = await state(server)
        assert (found["state"], found["reason"], found["round"]) == ("ended", WHY, 2)
        assert (await rounds(server))["ended"] == WHY
        assert 'disco_task_ended{task="scored"} 1' in (await ask(server.url + "/metrics")).body.decode()


@pytest.mark.parametrize("dialect", ["v2", "v3", "v4"])
async def test_a_newcomer_learns_of_the_end_and_gets_the_last_model(
    start: ServerFactory, dialect: str
) -> None:
    async with (
        trained(start) as (server, _),
        Participant(server.url, "scored", dialect=dialect) as late,
    ):
        assert late.ended == WHY
        np.testing.assert_array_equal(late.weights[0], filled(late, 2.0)[0])
        with pytest.raises(TrainingEnded, match=SAID):
            await contribute(late, 3.0)


async def test_who_still_trains_at_the_end_gets_the_last_model_for_its_contribution(
    start: ServerFactory,
) -> None:
    async with (
        start(providers=[Unscored(**PATIENT)], aggregation=Aggregation(interval=0.01)) as server,
        Participant(server.url, "scored") as slow,
    ):
        async with Participant(server.url, "scored") as one, Participant(server.url, "scored") as two:
            await train_to_the_end(one, two)
        with trio.fail_after(5):
            adopted = await contribute(slow, 100.0)
        np.testing.assert_array_equal(adopted[0], filled(slow, 2.0)[0])
        assert slow.ended == WHY


async def test_who_hears_of_the_end_while_it_trains_gets_the_last_model_once(
    start: ServerFactory, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    stopping = {"figure": "evaluation.mean", "mode": "max", "patience": 1}
    async with (
        start(providers=[Gated(gate, stopping=stopping)]) as server,
        Participant(server.url, "scored") as one,
        Participant(server.url, "scored") as two,
    ):
        gate.touch()
        await judged(server, 0)
        gate.unlink()
        await exchange_together({one: -5.0, two: -5.0})
        gate.touch()
        with trio.fail_after(10):
            while not one.ended:
                await one._attendance.changed()
        adopted = await contribute(one, 1.0)
        assert adopted[0].max() == -5.0
        with pytest.raises(TrainingEnded):
            await contribute(one, 1.0)


async def test_a_training_that_has_ended_still_has_after_a_restart(start: ServerFactory) -> None:
    async with trained(start):
        pass
    async with start(providers=[Unscored(**PATIENT)]) as server:
        assert (await state(server))["reason"] == WHY


async def test_more_patience_opens_the_training_again(start: ServerFactory) -> None:
    async with trained(start) as (server, _):
        patient = {"stopping": {**PATIENT["stopping"], "patience": 5}}
        document = {**server.app.directory.get("scored").task.document, "evaluation": patient}
        assert (await ask(server.url + "/tasks/scored", "PUT", json.dumps(document).encode())).status == 200
        assert (await state(server))["state"] == "running"


async def test_rolling_back_opens_the_training_again(start: ServerFactory) -> None:
    async with trained(start) as (server, one):
        await server.app.directory.roll_back("scored", 1)
        assert (await state(server))["state"] == "running"
        with trio.fail_after(5):
            while one.ended:
                await one._attendance.changed()
    async with start(providers=[Unscored(**PATIENT)]) as server:
        assert (await state(server))["state"] == "running"
        async with Participant(server.url, "scored") as one, Participant(server.url, "scored") as two:
            models = await exchange_together({one: 4.0, two: 6.0})
            np.testing.assert_array_equal(models[0][0], filled(one, 5.0)[0])


@pytest.mark.parametrize("dialect", ["v2", "v3", "v4"])
async def test_who_waits_for_a_round_when_a_scorer_ends_the_training_is_let_go(
    start: ServerFactory, tmp_path: Path, dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disco.participant.federated.ASK_SECONDS", 0.05)
    gate = tmp_path / "gate"
    stopping = {"figure": "evaluation.mean", "mode": "max", "patience": 1}
    async with (
        start(providers=[Gated(gate, stopping=stopping)]) as server,
        Participant(server.url, "scored", dialect=dialect) as waiting,
        Participant(server.url, "scored") as other,
    ):
        gate.touch()
        await judged(server, 0)
        gate.unlink()
        await exchange_together({waiting: -5.0, other: -5.0})
        results: list[object] = []
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_keep_result, waiting, results)
                await counted(server)
                gate.touch()
        if dialect == "v3":
            assert isinstance(results[0], Refused)
        else:
            assert results == [-5.0]
        assert "evaluation.mean has not improved on" in await ended(server)
        assert dialect == "v3" or "evaluation.mean has not improved on" in waiting.ended


async def _keep_result(participant: Participant, results: list[object]) -> None:
    try:
        results.append((await contribute(participant, 1.0))[0].max())
    except Refused as error:
        results.append(error)


def test_a_blocking_participants_loop_ends_too(start: ServerFactory) -> None:
    async def main() -> None:
        async with trained(start) as (server, _):
            await trio.to_thread.run_sync(check, server.url)

    def check(url: str) -> None:
        with BlockingParticipant(url, "scored") as late:
            assert late.ended == WHY
            with pytest.raises(TrainingEnded):
                late.exchange(late.weights)

    trio.run(main)
