"""A scorer in a process of its own: what it may do wrong, and what the server hears of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import trio

from disco.core.evaluation import require_figures
from disco.core.weights import Weights
from disco.errors import InvalidFigures, InvalidTask, ScorerFailed
from disco.learning.scoring import answer
from disco.runtime.scorer import Bounds, scorer_process
from disco.runtime.scorers import pickled
from tests.evaluation.scorers import (
    Crashing,
    Hanging,
    Hungry,
    Raising,
    Returning,
    Scored,
    Talkative,
    Unmakable,
)

BOUNDS = Bounds(seconds=20.0, memory_bytes=2 * 1024**3)


def model(value: float) -> Weights:
    return Weights.from_flat(np.full(13, value, np.float32), ((2, 3), (3,), (3, 1), (1,)))


async def figures_of(scorer: Scored, value: float = 1.0, bounds: Bounds = BOUNDS) -> Mapping[str, Any]:
    with trio.fail_after(25):
        async with scorer_process(pickled(scorer), bounds) as process:
            return await process.evaluate(model(value))


async def test_figures_come_back_for_model_after_model() -> None:
    async with scorer_process(pickled(Scored()), BOUNDS) as process:
        assert [await process.evaluate(model(value)) for value in (0.5, 2.0)] == [
            {"mean": 0.5},
            {"mean": 2.0},
        ]


async def test_what_a_scorer_prints_and_reads_does_not_disturb_its_answers() -> None:
    assert await figures_of(Talkative()) == {"mean": 1.0}


@pytest.mark.parametrize(
    ("scorer", "why"),
    [
        (Raising(), r"evaluate\(\) raised ZeroDivisionError: no examples left"),
        (Crashing(), "its process was killed by signal 9"),
        (Hungry(), r"needs more memory than limits\.evaluation_bytes"),
        (Unmakable(), "cannot be made in its process: ValueError"),
    ],
)
async def test_a_scorer_that_fails_is_told_in_a_sentence(scorer: Scored, why: str) -> None:
    with pytest.raises(ScorerFailed, match=why):
        await figures_of(scorer)


async def test_figures_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(ScorerFailed, match=r"evaluate\(\)\['loss'\] is nan, which is not finite"):
        await figures_of(Returning({"loss": math.nan}))


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        (None, "returned NoneType, and not a dict"),
        ([1, 2], "returned list, and not a dict"),
        ({"loss": "low"}, "raised ValueError"),
        ({"loss": None}, "raised TypeError"),
    ],
)
def test_what_is_no_dict_of_numbers_is_told_in_a_sentence(returned: Any, why: str) -> None:
    assert why in answer(lambda weights: returned, []).error


@pytest.mark.parametrize(
    ("figures", "why"),
    [
        ({"loss": math.inf}, "is inf, which is not finite"),
        ({"": 1}, "a name that is not 1 to 64 printable letters"),
        ({"x" * 65: 1}, "a name that is not 1 to 64 printable letters"),
        ({"a\nb": 1}, "a name that is not 1 to 64 printable letters"),
        ({str(index): index for index in range(65)}, "has 65 figures, and at most 64 are kept"),
    ],
)
def test_figures_are_finite_numbers_under_short_names_and_not_too_many(figures: Any, why: str) -> None:
    with pytest.raises(InvalidFigures, match=why):
        require_figures(figures, "metrics")


async def test_a_scorer_that_hangs_is_stopped() -> None:
    async with scorer_process(pickled(Hanging()), BOUNDS) as process:
        process._bounds = Bounds(0.05, BOUNDS.memory_bytes)
        with pytest.raises(
            ScorerFailed, match=r"took longer than limits\.evaluation, 0\.05 s, and was stopped"
        ):
            await process.evaluate(model(1.0))
    assert process._process.returncode == -9


async def test_a_process_whose_server_was_killed_ends_by_itself() -> None:
    async with scorer_process(pickled(Hanging()), Bounds(1.5, BOUNDS.memory_bytes)) as process:
        process._bounds = BOUNDS  # a server that does not stop it
        with trio.fail_after(20), pytest.raises(ScorerFailed, match="killed by signal 14"):
            await process.evaluate(model(1.0))


async def test_a_process_is_gone_after_the_block_also_when_it_is_cancelled() -> None:
    with trio.CancelScope() as scope:
        async with scorer_process(pickled(Scored()), BOUNDS) as process:
            scope.cancel()
            await trio.sleep_forever()
    assert process._process.returncode is not None


def test_a_scorer_that_cannot_be_pickled_is_refused() -> None:
    with pytest.raises(InvalidTask, match="cannot be pickled"):
        pickled(Returning(lambda: None))
