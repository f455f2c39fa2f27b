"""The median and the trimmed mean, against numpy, scipy and numbers worked by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from disco.core.aggregation.median import Median
from disco.core.aggregation.sorting import sorted_rows
from disco.core.aggregation.trimmed_mean import TrimmedMean
from tests.core.aggregation.updates import aggregated, matrix, random_weights, vector

CURRENT = random_weights(0)


@pytest.mark.parametrize("count", range(1, 12))
def test_the_median_is_numpy_s(count: int) -> None:
    updates = [random_weights(seed) for seed in range(count)]
    wanted = np.median(matrix(updates), axis=0).astype(np.float32)

    assert np.array_equal(aggregated(Median(), CURRENT, updates).flat, wanted)


def test_the_median_of_two_huge_values_does_not_overflow() -> None:
    assert aggregated(Median(), vector(0.0), [vector(3e38), vector(3.2e38)]).flat[0] == np.float32(3.1e38)


@pytest.mark.parametrize("count", range(1, 12))
@pytest.mark.parametrize("trim", [0.0, 0.1, 0.25, 0.4, 0.49])
def test_the_trimmed_mean_is_scipy_s(count: int, trim: float) -> None:
    updates = [random_weights(seed) for seed in range(count)]
    wanted = stats.trim_mean(matrix(updates), trim, axis=0)

    np.testing.assert_allclose(aggregated(TrimmedMean(trim), CURRENT, updates).flat, wanted, rtol=1e-6)


def test_the_trimmed_mean_by_hand() -> None:
    updates = [vector(value) for value in (-100.0, 1.0, 2.0, 6.0, 100.0)]

    assert aggregated(TrimmedMean(0.2), vector(0.0), updates).flat.tolist() == [3.0]


def test_a_part_that_falls_just_short_of_a_whole_number_is_that_number() -> None:
    updates = [vector(value) for value in (*[0.0] * 71, *[1.0] * 29)]  # 0.29 * 100 is 28.999…96

    assert aggregated(TrimmedMean(0.29), vector(0.0), updates).flat.tolist() == [0.0]


@pytest.mark.parametrize("count", range(1, 14))
def test_the_network_sorts_every_sequence_of_zeros_and_ones(count: int) -> None:
    """What sorts those sorts everything (Knuth, The Art of Computer Programming 3, section 5.3.4, theorem Z)."""
    columns = np.array(list(itertools.product([0.0, 1.0], repeat=count)), dtype=np.float32).T

    assert np.array_equal(np.array(sorted_rows(columns.copy())), np.sort(columns, axis=0))


@pytest.mark.parametrize("count", [31, 32, 33, 100, 512, 513])
def test_many_rows_are_sorted(count: int) -> None:
    block = np.random.default_rng(count).standard_normal((count, 40)).astype(np.float32)

    assert np.array_equal(np.array(sorted_rows(block.copy())), np.sort(block, axis=0))


@given(
    honest=st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=9),
    hostile=st.floats(width=32, allow_nan=False, allow_infinity=False),
)
def test_fewer_than_half_cannot_leave_the_range_of_the_others(honest: list[float], hostile: float) -> None:
    updates = [vector(value) for value in honest] + [vector(hostile)] * (len(honest) - 1)

    found = float(aggregated(Median(), vector(0.0), updates).flat[0])

    assert min(honest) <= found <= max(honest)
