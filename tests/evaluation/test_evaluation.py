"""Rounds of a real server, evaluated in a process beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trio

from disco.core.aggregation.registry import recipe_of
from disco.core.events import Contributed
from disco.core.names import ParticipantID
from disco.core.weights import Weights
from disco.errors import Refused, UnknownRound
from disco.participant import Participant
from disco.runtime.judging import Judge
from disco.runtime.keeper import Keeper
from disco.settings import Limits, Storage
from disco.storage.catalogue import load_task
from disco.storage.memory import MemoryStore
from tests.access.http import ask
from tests.conftest import TINY, Server, ServerFactory
from tests.evaluation.scorers import Crashing, Gated, Hanging, Raising, Resetting, Scored, Unscored
from tests.evaluation.serving import figures, judged, play, rounds, state, troubled
from tests.participant.together import exchange_together, filled

KEEP_BEST = {"keepBest": {"figure": "evaluation.mean", "mode": "max"}}


async def test_every_rounds_model_is_evaluated_the_initial_one_too(start: ServerFactory) -> None:
    async with start(providers=[Scored()]) as server:
        initial = server.app.directory.get("scored").model.weights
        mean = float(np.mean([tensor.mean() for tensor in initial.arrays()]))
        assert (await judged(server, 0))["evaluation.mean"] == pytest.approx(mean)
        await play(server, 2.5)
        await judged(server, 1)
        assert (await figures(server))[1] == {"evaluation.mean": 2.5}


async def test_a_round_without_figures_gets_them_after_a_restart_and_keeps_them(start: ServerFactory) -> None:
    async with start(providers=[Unscored()]) as server:
        await play(server, 2.5)
        assert (await figures(server))[1] == {}
    async with start(providers=[Scored()]) as server:
        await judged(server, 1)
    async with start(providers=[Unscored()]) as server:
        assert (await figures(server))[1] == {"evaluation.mean": 2.5}


async def test_the_newest_figures_are_in_the_tasks_state_and_in_the_metrics(start: ServerFactory) -> None:
    async with start(providers=[Scored()]) as server:
        await play(server, 2.5)
        await judged(server, 1)
        wanted = {"round": 1, "figures": {"evaluation.mean": 2.5}, "trouble": ""}
        assert (await state(server))["evaluation"] == wanted
        metrics = (await ask(server.url + "/metrics")).body.decode()
        assert 'disco_figure{figure="evaluation.mean",task="scored"} 2.5' in metrics


@pytest.mark.parametrize(
    ("scorer", "why"),
    [
        (Raising(), "round 1 is not evaluated: evaluate() raised ZeroDivisionError: no examples left"),
        (Crashing(), "round 1 is not evaluated: its process was killed by signal 9"),
    ],
)
async def test_a_scorer_that_fails_costs_its_round_the_figures_and_nothing_else(
    start: ServerFactory, scorer: Scored, why: str
) -> None:
    async with start(providers=[scorer]) as server:
        await judged(server, 0)
        await play(server, 1.0)
        assert await troubled(server) == why
        assert (await state(server))["evaluation"]["trouble"] == why
        await play(server, 3.0)
        await judged(server, 2)
        assert [found.get("evaluation.mean") for found in (await figures(server)).values()][1:] == [None, 3.0]
        assert (await state(server))["evaluation"]["trouble"] == ""


async def test_a_scorer_that_hangs_is_killed_and_started_again(start: ServerFactory) -> None:
    async with start(providers=[Hanging()], limits=Limits(evaluation=1.0)) as server:
        await judged(server, 0)
        await play(server, 1.0)
        assert "took longer than limits.evaluation, 1 s" in await troubled(server)
        await play(server, 3.0)
        assert (await judged(server, 2))["evaluation.mean"] == 3.0


async def test_rounds_do_not_wait_for_evaluation_and_only_the_newest_is_evaluated(
    start: ServerFactory, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with start(providers=[Gated(gate)]) as server:
        await play(server, 1.0, 2.0, 3.0)
        gate.touch()
        await judged(server, 3)
        newest = [number for number, of_round in (await figures(server)).items() if of_round and number]
        assert newest == [3]
        assert server.app.metrics.value("evaluations", task="scored", outcome="skipped") >= 2


async def test_a_restored_rounds_model_is_evaluated(start: ServerFactory) -> None:
    async with start(providers=[Scored()]) as server:
        await play(server, 2.0, 3.0)
        await server.app.directory.roll_back("scored", 1)
        assert (await judged(server, 3))["evaluation.mean"] == 2.0


async def test_a_training_that_starts_anew_is_judged_anew(start: ServerFactory) -> None:
    async with start(providers=[Resetting(**KEEP_BEST)]) as server:
        await play(server, 5.0)  # all leave, so round 0 is current again
        entry = server.app.directory.get("scored")
        with trio.fail_after(5):
            while entry.session is None or entry.session.round:
                await entry.journal.bell.changed(entry.journal.bell.rung)
        async with Participant(server.url, "scored") as one, Participant(server.url, "scored") as two:
            await exchange_together({one: 3.0, two: 3.0})
            assert (await judged(server, 1))["evaluation.mean"] == 3.0
            assert (await rounds(server))["best"] == 1


async def test_figures_for_a_round_of_the_same_number_before_a_reset_are_dropped(
    start: ServerFactory,
) -> None:
    async with start(providers=[Unscored()]) as server:
        entry = server.app.directory.get("scored")
        assert entry.performer is not None
        before_reset = replace(entry.journal.rounds[-1], closed_at=1.0)
        with pytest.raises(UnknownRound, match="round 0 is not on disk any more"):
            await entry.performer.judge.add(before_reset, {"mean": 1.0})
        assert (await figures(server))[0] == {}


async def test_participants_figures_are_kept_as_means_weighted_by_samples(start: ServerFactory) -> None:
    async with (
        start(providers=[Unscored()]) as server,
        Participant(server.url, "scored") as one,
        Participant(server.url, "scored") as two,
    ):
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.exchange, filled(one, 1.0), 10, {"loss": 1.0, "mine": 7.0})
                nursery.start_soon(two.exchange, filled(two, 1.0), np.float64(30), {"loss": np.float64(2)})
        assert (await figures(server))[1] == {"participants.loss": 1.75, "participants.mine": 7.0}


@pytest.mark.parametrize(
    ("metrics", "why"),
    [
        ({"loss": np.inf}, "metrics['loss'] is inf, which is not finite"),
        ({"": 1.0}, "length >= 1"),
        ({str(index): 1.0 for index in range(65)}, "64"),
    ],
)
async def test_figures_that_cannot_be_kept_refuse_the_contribution(
    server: Server, metrics: dict[str, float], why: str
) -> None:
    async with Participant(server.url, "tiny") as participant:
        with trio.fail_after(5), pytest.raises(Refused) as caught:
            await participant.exchange(participant.weights, metrics=metrics)
        assert why in str(caught.value)


# ── The best round ───────────────────────────────────────────────────────────────────────────────────────


async def test_the_best_round_outlives_pruning_and_restarts_and_can_be_downloaded(
    start: ServerFactory,
) -> None:
    storage = Storage(keep_last=1, keep_every=1000)
    async with start(providers=[Scored(**KEEP_BEST)], storage=storage) as server:
        for number, value in enumerate((5.0, 9.0, 4.0, 3.0), start=1):
            await play(server, value)
            await judged(server, number)
        assert (await rounds(server))["best"] == 2
    async with start(providers=[Scored(**KEEP_BEST)], storage=storage) as server:
        on_disk = [found["round"] for found in (await rounds(server))["rounds"] if found["onDisk"]]
        assert on_disk == [0, 2, 4]
        assert (await state(server))["best"] == 2
        assert (await ask(server.url + "/tasks/scored/export?round=best")).headers["x-disco-round"] == "2"


async def test_a_task_without_a_best_round_says_so(start: ServerFactory) -> None:
    async with start(providers=[Unscored()]) as server:
        answer = await ask(server.url + "/tasks/scored/export?round=best")
        assert (answer.status, (await rounds(server))["best"]) == (404, None)
        assert "evaluation.keepBest" in answer.json["error"]


def test_of_a_private_task_no_figures_of_participants_are_kept() -> None:
    found = load_task(TINY / "tiny").task
    recipe = recipe_of(found)
    made = Contributed(ParticipantID("a"), 0, Weights((), ()), samples=1, metrics={"loss": 1.0})
    for each, wanted in (
        (recipe, {"participants.loss": 1.0}),
        (replace(recipe, privacy={"clippingNorm": 1.0}), {}),
    ):
        judge = Judge(found, each, Keeper(MemoryStore()))
        judge.take(made)
        assert judge.reported() == wanted
