"""What every rule promises, whatever its formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.core.aggregation import Aggregator
from disco.core.weights import Weights
from disco.errors import InvalidUpdate
from tests.core.aggregation.updates import RULES, SHAPES, aggregated, poisoned, random_weights, vector

Make: TypeAlias = Callable[[], Aggregator]

CURRENT = random_weights(0)
UPDATES = [random_weights(seed) for seed in range(1, 8)]

every_rule = pytest.mark.parametrize("make", RULES.values(), ids=list(RULES))
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def close(found: Weights, wanted: Weights) -> bool:
    return np.allclose(found.flat, wanted.flat, rtol=1e-6, atol=1e-6)


@every_rule
def test_without_contributions_the_model_stays(make: Make) -> None:
    assert aggregated(make(), CURRENT, []).equals(CURRENT)


@every_rule
def test_one_contribution_becomes_the_model(make: Make) -> None:
    assert close(aggregated(make(), CURRENT, UPDATES[:1]), UPDATES[0])


@every_rule
@pytest.mark.parametrize("count", [2, 3, 5])
def test_equal_contributions_become_the_model(make: Make, count: int) -> None:
    assert close(aggregated(make(), CURRENT, UPDATES[:1] * count), UPDATES[0])


@every_rule
def test_the_structure_is_kept_with_scalars_and_empty_tensors(make: Make) -> None:
    arrays = aggregated(make(), CURRENT, UPDATES).arrays()

    assert tuple(array.shape for array in arrays) == SHAPES


@every_rule
def test_a_model_without_parameters_is_aggregated(make: Make) -> None:
    nothing = Weights.zeros([(0,), (2, 0)])

    assert aggregated(make(), nothing, [nothing] * 3).shapes == ((0,), (2, 0))


@every_rule
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, -1])
def test_an_update_that_is_not_finite_is_refused_and_leaves_nothing(
    make: Make, value: float, place: int
) -> None:
    rule = make()
    rule.begin(CURRENT)
    for update in UPDATES:
        with pytest.raises(InvalidUpdate, match=r"weights\[\d\]\.data has a value that is not finite"):
            rule.add(poisoned(update, value, place), 1.0)
        rule.add(update, 1.0)

    assert rule.finish().flat.tobytes() == aggregated(make(), CURRENT, UPDATES).flat.tobytes()


@every_rule
def test_an_update_of_another_structure_is_refused(make: Make) -> None:
    rule = make()
    rule.begin(CURRENT)

    with pytest.raises(InvalidUpdate, match="tensors"):
        rule.add(vector(1.0), 1.0)


@every_rule
def test_updates_may_be_reused_by_their_sender(make: Make) -> None:
    rule = make()
    rule.begin(CURRENT)
    for update in UPDATES:
        lent = Weights.from_flat(update.flat.copy(), SHAPES)
        rule.add(lent, 1.0)
        lent.flat[:] = 1e9

    assert rule.finish().flat.tobytes() == aggregated(make(), CURRENT, UPDATES).flat.tobytes()


@every_rule
def test_updates_may_lie_unaligned_in_a_message(make: Make) -> None:
    def inside_a_message(update: Weights) -> Weights:
        values = np.frombuffer(b"\x93" + update.flat.tobytes(), dtype="<f4", offset=1)
        return Weights.from_flat(values, SHAPES)

    found = aggregated(make(), CURRENT, map(inside_a_message, UPDATES))

    assert found.flat.tobytes() == aggregated(make(), CURRENT, UPDATES).flat.tobytes()


@every_rule
def test_the_result_can_be_asked_for_again(make: Make) -> None:
    rule = make()
    first = aggregated(rule, CURRENT, UPDATES)

    assert rule.finish().flat.tobytes() == first.flat.tobytes()


@every_rule
def test_a_result_is_nobody_s_buffer(make: Make) -> None:
    rule = make()
    first = aggregated(rule, CURRENT, UPDATES)
    before = first.flat.copy()
    rule.begin(CURRENT)
    rule.add(UPDATES[0], 1.0)
    rule.finish()

    assert np.array_equal(first.flat, before)


@every_rule
@given(
    values=st.lists(st.tuples(finite, finite), min_size=1, max_size=6),
    seed=st.randoms(use_true_random=False),
)
def test_the_order_of_arrival_does_not_matter_bit_for_bit(
    make: Make, values: list[tuple[float, float]], seed: object
) -> None:
    current = vector(0.5, -3.0)
    updates = [vector(*pair) for pair in values]
    shuffled = list(updates)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis gives a random.Random

    with np.errstate(over="ignore", invalid="ignore"):  # distances of what is as large as float32 goes
        found = aggregated(make(), current, shuffled).flat.tobytes()
        assert found == aggregated(make(), current, updates).flat.tobytes()


@pytest.mark.parametrize("name", ["median", "trimmed mean", "krum", "multi-krum", "geometric median"])
def test_a_few_hostile_contributions_do_not_get_far(name: str) -> None:
    honest = [random_weights(seed, 0.1) for seed in range(1, 9)]
    hostile = [random_weights(seed, 1e6) for seed in range(9, 11)]

    found = aggregated(RULES[name](), CURRENT, [*honest, *hostile])

    assert np.abs(found.flat).max() < 1.0


def test_one_hostile_contribution_takes_the_mean_anywhere() -> None:
    honest = [random_weights(seed, 0.1) for seed in range(1, 9)]

    assert np.abs(aggregated(RULES["mean"](), CURRENT, [*honest, random_weights(9, 1e6)]).flat).max() > 1e4
