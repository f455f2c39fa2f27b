"""Norm clipping and staleness: what happens to an update before the rule sees it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from disco.core.aggregation import Change
from disco.core.aggregation.changes import distance
from disco.core.aggregation.norm_clipping import NormClipping
from disco.core.aggregation.staleness import Staleness
from disco.core.weights import Weights
from disco.errors import InvalidUpdate
from tests.core.aggregation.updates import SHAPES, contribution, poisoned, random_weights, vector


def changed(change: Change, update: Weights, round_: int = 0) -> Weights:
    return change.apply(update, contribution(update, round_=round_))


# ── Norm clipping ────────────────────────────────────────────────────────────────────────────────────────


def test_a_change_beyond_the_norm_is_shortened_to_it() -> None:
    clipping = NormClipping(2.5)
    clipping.begin(vector(1.0, 1.0), 0)

    assert changed(clipping, vector(4.0, 5.0)).flat.tolist() == [2.5, 3.0]  # (3, 4) becomes (1.5, 2)


def test_a_change_within_the_norm_is_passed_on_uncopied() -> None:
    clipping = NormClipping(5.0)
    clipping.begin(vector(1.0, 1.0), 0)
    update = vector(4.0, 5.0)

    assert changed(clipping, update) is update


def test_what_is_clipped_has_the_norm_and_the_direction() -> None:
    current, update = random_weights(0), random_weights(1, 1e4)
    clipping = NormClipping(0.5)
    clipping.begin(current, 0)

    change = changed(clipping, update).flat.astype(np.float64) - current.flat
    whole = update.flat.astype(np.float64) - current.flat

    assert np.linalg.norm(change) == pytest.approx(0.5, rel=1e-5)
    assert change @ whole == pytest.approx(np.linalg.norm(change) * np.linalg.norm(whole), rel=1e-6)


def test_a_round_tells_how_many_were_clipped() -> None:
    clipping = NormClipping(1.0)
    clipping.begin(vector(0.0), 0)
    for value in (0.5, 2.0, 3.0):
        changed(clipping, vector(value))
    assert clipping.figures() == {"clipped": 2.0}

    clipping.begin(vector(0.0), 1)

    assert clipping.figures() == {"clipped": 0.0}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("make", [lambda: NormClipping(1.0), Staleness])
def test_an_update_that_is_not_finite_is_refused(make: type[Change], value: float) -> None:
    change: Change = make()
    change.begin(random_weights(0), 0)

    with pytest.raises(InvalidUpdate, match="not finite"):
        changed(change, poisoned(random_weights(1), value))


@pytest.mark.parametrize("make", [lambda: NormClipping(1.0), Staleness])
def test_an_update_of_another_structure_is_refused(make: type[Change]) -> None:
    change: Change = make()
    change.begin(random_weights(0), 0)

    with pytest.raises(InvalidUpdate, match="tensors"):
        changed(change, vector(1.0))


def test_distances_of_the_largest_values_are_finite() -> None:
    largest = float(np.finfo(np.float32).max)

    assert distance(vector(largest), vector(-largest).flat) == pytest.approx(2 * largest)


# ── Staleness ────────────────────────────────────────────────────────────────────────────────────────────


def begun(limit: int, *models: Weights) -> Staleness:
    staleness = Staleness(limit)
    for number, model in enumerate(models):
        staleness.begin(model, number)
    return staleness


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_a_late_change_counts_less_and_from_the_current_model(delay: int) -> None:
    models = [random_weights(number) for number in range(4)]
    staleness = begun(3, *models)
    update = random_weights(9)
    base, current = models[3 - delay].flat.astype(np.float64), models[3].flat.astype(np.float64)
    wanted = current + (update.flat - base) / math.sqrt(1 + delay)

    found = changed(staleness, update, round_=3 - delay)

    np.testing.assert_allclose(found.flat, wanted, rtol=1e-6, atol=1e-7)
    assert found.shapes == SHAPES


def test_a_change_in_time_is_passed_on_uncopied() -> None:
    update = random_weights(9)

    assert changed(begun(3, random_weights(0)), update) is update


def test_a_change_on_a_model_that_is_gone_is_refused() -> None:
    staleness = begun(1, vector(0.0), vector(1.0), vector(2.0))

    with pytest.raises(InvalidUpdate, match="round 0 is not at hand"):
        changed(staleness, vector(1.0), round_=0)


def test_starting_anew_forgets_the_models_of_the_rounds_before() -> None:
    staleness = begun(5, vector(0.0), vector(1.0))
    staleness.forget()
    staleness.begin(vector(2.0), 2)

    with pytest.raises(InvalidUpdate, match="not at hand"):
        changed(staleness, vector(1.0), round_=1)


def test_an_update_that_overflows_on_the_current_model_is_refused() -> None:
    largest = float(np.finfo(np.float32).max)
    staleness = begun(1, vector(-largest), vector(largest))

    with pytest.raises(InvalidUpdate, match="not finite"), np.errstate(over="ignore"):
        changed(staleness, vector(largest), round_=0)


def test_a_round_tells_how_late_its_contributions_were() -> None:
    staleness = begun(5, vector(0.0), vector(1.0), vector(2.0))
    assert staleness.figures() == {}
    for round_ in (2, 2, 0, 1):
        changed(staleness, vector(1.0), round_)

    assert staleness.figures() == {"staleness_mean": 0.75, "staleness_max": 2.0}
