"""The mean and its exact total."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disco.core.aggregation.mean import Mean
from disco.core.aggregation.total import EQUAL_HEADROOM, ExactTotal
from disco.core.weights import BLOCK, Weights
from disco.errors import InvalidUpdate
from tests.core.aggregation.updates import aggregated, poisoned, random_weights, vector, within_ulps

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
columns = st.lists(finite, min_size=1, max_size=12)


def test_the_mean_of_ten_thousand_is_the_float64_mean_rounded() -> None:
    count, size = 10_000, 300
    current = random_weights(0, 0.05, [(size,)])
    rng = np.random.default_rng(1)
    updates = [current.flat + rng.standard_normal(size, dtype=np.float32) * 0.01 for _ in range(count)]
    exact = np.array([math.fsum(column) / count for column in np.array(updates).T.tolist()])

    found = aggregated(Mean(), current, (Weights.from_flat(update, [(size,)]) for update in updates))

    assert within_ulps(found.flat, exact, 1)


def test_ten_thousand_sum_to_the_same_bits_in_any_order() -> None:
    current = random_weights(0, 0.05, [(50,)])
    updates = [random_weights(seed, 10.0 ** (seed % 13 - 6), [(50,)]) for seed in range(10_000)]
    shuffled = random.Random(3).sample(updates, len(updates))

    found = aggregated(Mean(), current, shuffled)

    assert found.flat.tobytes() == aggregated(Mean(), current, updates).flat.tobytes()


@pytest.mark.parametrize(("headroom", "large"), [(EQUAL_HEADROOM, 31.0), (20, 15.0)])
@pytest.mark.parametrize("exponent", [*range(-60, -20, 8), *range(-20, 8), *range(8, 60, 8)])
def test_a_small_value_survives_any_number_of_large_ones_that_cancel(
    headroom: int, large: float, exponent: int
) -> None:
    """A float64 would forget it: half of what it can count is large, and then all of that is taken back."""
    small = np.ldexp(np.float32(1 + 2**-23), exponent)
    share, times = (1.0, 2 ** (headroom - 1)) if headroom == EQUAL_HEADROOM else (1000.0, 500)
    total = ExactTotal(headroom)
    total.begin(vector(1.0))
    for value in (large, small, -large):
        for _ in range(1 if value == small else times):
            total.add(vector(value), share)

    assert total.divided(share).flat.tolist() == [small]


def ulp(value: float) -> float:
    """Return the distance from a value to the float32 next to it on the side of 0; the largest has no other."""
    return float(np.spacing(np.nextafter(np.float32(abs(value)), np.float32(0))))


@given(values=columns, order=st.randoms(use_true_random=False), size=finite)
def test_any_values_sum_to_the_same_bits_in_any_order(
    values: list[float], order: random.Random, size: float
) -> None:
    updates = [vector(value) for value in values]
    shuffled = order.sample(updates, len(updates))

    found = aggregated(Mean(), vector(size), shuffled)

    assert found.flat.tobytes() == aggregated(Mean(), vector(size), updates).flat.tobytes()


@given(values=columns, size=finite)
def test_any_values_have_their_true_mean(values: list[float], size: float) -> None:
    exact = float(sum(map(Fraction, values)) / len(values))
    # Sums over windows are added in float64, which is all that is not exact.
    allowed = 2.0**-50 * max(map(abs, values))

    found = float(aggregated(Mean(), vector(size), map(vector, values)).flat[0])

    assert abs(found - exact) <= allowed + ulp(exact)


@given(
    values=st.lists(st.tuples(finite, st.integers(1, 1000)), min_size=1, max_size=9),
    order=st.randoms(use_true_random=False),
)
def test_shares_weigh_exactly_in_any_order(values: list[tuple[float, int]], order: random.Random) -> None:
    shuffled = order.sample(values, len(values))
    total = sum(share for _, share in values)
    exact = float(sum(Fraction(value) * share for value, share in values) / total)
    allowed = 2.0**-49 * max(abs(value) for value, _ in values)

    def mean(pairs: list[tuple[float, int]]) -> Weights:
        return aggregated(
            Mean(20), vector(0.1), [vector(value) for value, _ in pairs], [share for _, share in pairs]
        )

    assert mean(shuffled).flat.tobytes() == mean(values).flat.tobytes()
    assert abs(float(mean(values).flat[0]) - exact) <= allowed + ulp(exact)


def test_shares_are_relative() -> None:
    found = aggregated(Mean(), vector(0.0), [vector(1.0), vector(5.0)], [1.0, 3.0])

    assert found.flat.tolist() == [4.0]


@pytest.mark.parametrize("share", [0.0, -1.0, math.nan, math.inf])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    mean = Mean()
    mean.begin(vector(0.0))

    with pytest.raises(InvalidUpdate, match="share"):
        mean.add(vector(1.0), share)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_update_refused_in_its_last_block_leaves_every_bit_of_the_blocks_before(value: float) -> None:
    shape = [(3 * BLOCK + 7,)]
    current, first = random_weights(0, 0.05, shape), random_weights(1, 0.05, shape)
    total = ExactTotal()
    total.begin(current)
    total.add(first, 1.0)
    before = total.divided(1.0).flat.copy()

    with pytest.raises(InvalidUpdate, match="not finite"):
        total.add(poisoned(random_weights(2, 1e-3, shape), value), 3.0)

    assert total.divided(1.0).flat.tobytes() == before.tobytes()


def test_many_odd_values_are_summed_by_coordinate_meanwhile() -> None:
    shape = [(BLOCK,)]
    total = ExactTotal()
    total.begin(random_weights(0, 1.0, shape))
    updates = [random_weights(seed, 1e-9, shape) for seed in range(1, 12)]
    for update in updates:
        total.add(update, 1.0)
    exact = np.asarray(np.sum([update.flat for update in updates], axis=0, dtype=np.float64) / 11)

    assert sum(keys.size for keys, _ in total._odd) < 8 * BLOCK
    assert within_ulps(total.divided(11).flat, exact, 1)


def test_a_round_forgets_the_one_before() -> None:
    mean = Mean()
    aggregated(mean, vector(0.0), [vector(1e30), vector(7.0)])

    assert aggregated(mean, vector(0.0), [vector(2.0)]).flat.tolist() == [2.0]


def test_the_largest_values_do_not_overflow() -> None:
    largest = float(np.finfo(np.float32).max)

    assert aggregated(Mean(), vector(largest), [vector(largest)] * 3).flat.tolist() == [largest]


@settings(max_examples=20)
@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_models_of_several_tensors_are_summed_like_one(count: int, seed: int) -> None:
    shapes = [(3,), (), (0,), (2, 2)]
    updates = [random_weights(seed + index, 1.0, shapes) for index in range(count)]
    flat = [Weights.from_flat(update.flat, [(8,)]) for update in updates]

    found = aggregated(Mean(), random_weights(1, 1.0, shapes), updates)

    assert found.flat.tobytes() == aggregated(Mean(), random_weights(1, 1.0, [(8,)]), flat).flat.tobytes()


def test_preparing_a_round_changes_nothing_whenever_it_is_done() -> None:
    found = []
    for before, between in ((False, False), (True, False), (False, True), (True, True)):
        mean = Mean()
        for start in (0.0, 5.0):
            mean.begin(Weights.from_arrays([[start, start]]))
            if before:
                mean.total.prepare()
            mean.add(Weights.from_arrays([[start + 1.0, 2.0]]), 1.0)
            if between:
                mean.total.prepare()
            mean.add(Weights.from_arrays([[start + 2.0, 4.0]]), 1.0)
        found.append(mean.finish().flat.tolist())
    assert found == [[6.5, 3.0]] * 4
