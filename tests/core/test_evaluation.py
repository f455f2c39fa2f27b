"""Figures of rounds: the best round, when to stop, what participants report, and what a task may ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.core.aggregation.weighing import BySamples
from disco.core.evaluation import Aim, Mark, Plan, Progress, Reported, Stopping, read_plan
from disco.core.events import Contributed
from disco.core.names import ParticipantID
from disco.core.task import Task
from disco.core.weights import Weights
from disco.errors import InvalidTask
from tests.storage.samples import task

LOSS = Aim("evaluation.loss", "min")
ACCURACY = Aim("evaluation.accuracy", "max")


def seen(progress: Progress, *losses: float | None, first: int = 0) -> Progress:
    """Show losses of rounds one after the other; None for a round without."""
    for number, loss in enumerate(losses, start=first):
        progress.see(number, {} if loss is None else {LOSS.figure: loss})
    return progress


# ── The best round ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("mode", "best"), [("min", 2), ("max", 0)])
def test_the_best_round_is_the_one_with_the_least_or_the_largest_figure(mode: str, best: int) -> None:
    assert seen(Progress(Plan(best=Aim(LOSS.figure, mode))), 3.0, 2.0, 1.0, 1.5).best == best


def test_of_equally_good_rounds_the_first_is_the_best() -> None:
    assert seen(Progress(Plan(best=LOSS)), 1.0, 1.0).best == 0


def test_without_the_figure_no_round_is_the_best() -> None:
    assert seen(Progress(Plan(best=ACCURACY)), 1.0, 2.0).best is None


def test_who_does_not_ask_for_it_has_no_best_round() -> None:
    progress = seen(Progress(Plan()), 1.0)
    assert (progress.best, progress.marks()) == (None, {})


# ── Stopping ─────────────────────────────────────────────────────────────────────────────────────────────


def stopping(patience: int, min_delta: float = 0.0) -> Progress:
    return Progress(Plan(stopping=Stopping(LOSS, patience, min_delta)))


def test_the_training_ends_when_nothing_was_better_for_so_many_rounds() -> None:
    progress = seen(stopping(2), 3.0, 2.0, 2.5)
    assert progress.ended == ""
    seen(progress, 2.0, first=3)
    assert progress.ended == "evaluation.loss has not improved on 2 of round 1 in 2 rounds"


def test_patience_begins_again_with_every_better_round() -> None:
    assert seen(stopping(2), 3.0, 3.0, 2.9, 3.0, 2.8).ended == ""


def test_what_is_better_by_too_little_is_not_better() -> None:
    progress = seen(stopping(2, min_delta=0.5), 3.0, 2.6, 2.5)
    assert progress.ended == "evaluation.loss has not improved on 3 of round 0 by more than 0.5 in 2 rounds"


def test_rounds_that_nobody_evaluated_count_once_a_later_one_is() -> None:
    progress = seen(stopping(3), 3.0, None, None)
    assert progress.ended == ""
    assert seen(progress, 3.0, first=3).ended


def test_once_ended_a_late_figure_changes_nothing() -> None:
    progress = seen(stopping(1), 3.0, 3.0)
    why = progress.ended
    assert seen(progress, 0.0, first=2).ended == why


def test_a_restart_is_patient_again_and_keeps_the_best_round() -> None:
    progress = Progress(Plan(best=LOSS, stopping=Stopping(LOSS, 1)))
    seen(progress, 1.0, 2.0)
    progress.restart(2)
    assert (progress.ended, progress.best) == ("", 0)
    assert seen(progress, 2.0, first=2).ended == ""
    assert seen(progress, 2.0, first=3).ended == "evaluation.loss has not improved on 2 of round 2 in 1 round"


def test_another_plan_knows_nothing_of_the_marks_of_this_one() -> None:
    marks = seen(Progress(Plan(best=LOSS)), 1.0).marks()
    progress = Progress(Plan(best=ACCURACY))
    progress.resume(marks, [(3, {ACCURACY.figure: 0.5})])
    assert progress.marks() == {"best evaluation.accuracy max": Mark(3, 0.5)}


@given(
    losses=st.lists(st.none() | st.sampled_from([1.0, 1.1, 1.2, 1.5, 2.0]), max_size=30),
    patience=st.integers(1, 5),
    min_delta=st.sampled_from([0.0, 0.15]),
    restarts=st.sets(st.integers(0, 30)),
)
def test_restarts_with_the_marks_and_the_newest_round_only_change_nothing(
    losses: list[float | None], patience: int, min_delta: float, restarts: set[int]
) -> None:
    plan = Plan(best=LOSS, stopping=Stopping(LOSS, patience, min_delta))
    whole, interrupted = Progress(plan), Progress(plan)
    for number, loss in enumerate(losses):
        figures: Mapping[str, float] = {} if loss is None else {LOSS.figure: loss}
        assert whole.see(number, figures) == interrupted.see(number, figures)
        if number in restarts:
            marks = interrupted.marks()
            kept = sorted({mark.round for mark in marks.values()} | {number})
            found = [(kept_number, losses[kept_number]) for kept_number in kept]
            interrupted = Progress(plan)
            interrupted.resume(marks, [(n, {} if it is None else {LOSS.figure: it}) for n, it in found])
        assert (interrupted.best, interrupted.marks()) == (whole.best, whole.marks())
        assert interrupted.ended == whole.ended


# ── What participants report ─────────────────────────────────────────────────────────────────────────────


def said(samples: float | None = None, **metrics: float) -> Contributed:
    return Contributed(ParticipantID("a"), 0, Weights((), ()), samples=samples, metrics=metrics)


def means(*contributions: Contributed, weighing: BySamples | None = None) -> Mapping[str, float]:
    reported = Reported(weighing)
    for made in contributions:
        reported.add(made)
    return reported.figures()


def test_figures_are_weighted_by_samples() -> None:
    assert means(said(10, loss=1.0), said(30, loss=2.0)) == {"participants.loss": 1.75}


def test_samples_weigh_up_to_the_cap_and_one_if_they_are_not_stated() -> None:
    found = means(said(10**9, loss=1.0), said(None, loss=4.0), weighing=BySamples(cap=2, unstated=1))
    assert found["participants.loss"] == pytest.approx(2.0)


def test_a_figure_is_the_mean_of_those_who_report_it() -> None:
    assert means(said(loss=1.0), said(loss=3.0, mine=5.0)) == {
        "participants.loss": 2.0,
        "participants.mine": 5.0,
    }


def test_who_has_no_samples_does_not_weigh() -> None:
    assert means(said(0, loss=100.0), said(1, loss=2.0)) == {"participants.loss": 2.0}


def test_there_are_only_so_many_figures_however_many_names_are_made_up() -> None:
    made_up = (said(**{f"{sender}-{index}": 1.0 for index in range(64)}) for sender in range(5))
    assert len(means(*made_up)) == 64


def test_huge_figures_do_not_become_infinite() -> None:
    assert all(map(math.isfinite, means(said(loss=1.7e308), said(loss=-1.7e308)).values()))


def test_another_round_begins_with_nothing() -> None:
    reported = Reported()
    reported.add(said(loss=1.0))
    reported.begin()
    assert reported.figures() == {}


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(-1e6, 1e6)), min_size=1, max_size=50))
def test_the_running_mean_is_the_weighted_mean(reports: list[tuple[int, float]]) -> None:
    found = means(*(said(samples, loss=value) for samples, value in reports))["participants.loss"]
    wanted = math.fsum(samples * value for samples, value in reports) / sum(samples for samples, _ in reports)
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-6)


# ── What a task may ask for ──────────────────────────────────────────────────────────────────────────────

STOPPING = {"figure": "evaluation.loss", "mode": "min", "patience": 5}


def document(**evaluation: Any) -> dict[str, Any]:
    return {**task().document, "evaluation": evaluation}


def test_a_plan_is_read() -> None:
    best = {"figure": "evaluation.accuracy", "mode": "max"}
    plan, problems = read_plan(document(data="held-out.npz", keepBest=best, stopping=STOPPING), "task")
    assert (plan, problems) == (Plan("held-out.npz", ACCURACY, Stopping(LOSS, 5)), [])


def test_a_task_that_says_nothing_has_no_plan() -> None:
    assert read_plan(dict(task().document), "task") == (Plan(), [])


@pytest.mark.parametrize(
    ("evaluation", "why"),
    [
        ({"data": "../secrets.npz"}, "task.evaluation.data must be the name of a file in the task's folder"),
        ({"data": "/etc/passwd"}, "task.evaluation.data must be the name of a file"),
        ({"data": ""}, "task.evaluation.data must be the name of a file"),
        ({"dta": "x.npz"}, "task.evaluation may have data, keepBest and stopping, and nothing else"),
        ({"keepBest": {"figure": "x"}}, "task.evaluation.keepBest.mode is missing"),
        ({"keepBest": {"figure": "x", "mode": "most"}}, "keepBest.mode must be one of max, min"),
        ({"keepBest": {"figure": " ", "mode": "max"}}, "keepBest.figure must not be blank"),
        ({"stopping": {"figure": "x", "mode": "max"}}, "task.evaluation.stopping.patience is missing"),
        ({"stopping": {**STOPPING, "patience": 0}}, "stopping.patience must be at least 1, not 0"),
        ({"stopping": {**STOPPING, "minDelta": -1}}, "stopping.minDelta must be at least 0, not -1"),
        (
            {"stopping": {**STOPPING, "delta": 1}},
            "may have figure, mode, patience and minDelta, and nothing else",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(evaluation: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidTask) as caught:
        Task.from_document(document(**evaluation))
    assert why in str(caught.value)


def test_figures_of_participants_are_none_of_a_private_task() -> None:
    given = document(keepBest={"figure": "participants.accuracy", "mode": "max"})
    _, (problem,) = read_plan({**given, "aggregation": {"privacy": {}}}, "task")
    assert problem.path == "task.evaluation.keepBest.figure"
    assert "no figures of participants are kept" in problem.problem
