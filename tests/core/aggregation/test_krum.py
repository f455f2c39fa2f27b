"""Krum and Multi-Krum, against the definition written as loops, and distances where float32 fails."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from disco.core.aggregation.held import squared_distances
from disco.core.aggregation.krum import Krum, ranking
from disco.core.weights import Weights
from tests.core.aggregation.updates import aggregated, matrix, random_weights, vector

CURRENT = random_weights(0)


def scores(rows: NDArray[np.float64], hostile: int) -> list[float]:
    """Return each row's score as the paper defines it."""
    found = []
    for one, row in enumerate(rows):
        squares = sorted(((row - other) ** 2).sum() for index, other in enumerate(rows) if index != one)
        found.append(sum(squares[: len(rows) - hostile - 2]))
    return found


@pytest.mark.parametrize(("count", "hostile"), [(4, 0), (5, 1), (10, 2), (11, 4)])
def test_krum_takes_the_contribution_with_the_smallest_score(count: int, hostile: int) -> None:
    updates = [random_weights(seed) for seed in range(count)]
    best = int(np.argmin(scores(matrix(updates), hostile)))

    assert aggregated(Krum(hostile / count), CURRENT, updates).equals(updates[best])


@pytest.mark.parametrize(("count", "hostile"), [(5, 1), (10, 2), (11, 4)])
def test_multi_krum_is_the_mean_of_the_best(count: int, hostile: int) -> None:
    updates = [random_weights(seed) for seed in range(count)]
    best = np.argsort(scores(matrix(updates), hostile))[: count - hostile]

    found = aggregated(Krum(hostile / count, multi=True), CURRENT, updates).flat

    np.testing.assert_allclose(found, matrix(updates)[best].mean(axis=0), rtol=1e-6, atol=1e-7)


def test_krum_by_hand() -> None:
    updates = [vector(value, 0.0) for value in (0.0, 1.0, 1.5, 3.0, 100.0)]
    # f = 1, so two neighbours count: 1 + 2.25, 1 + 0.25, 0.25 + 2.25, 2.25 + 4, …

    assert aggregated(Krum(0.2), vector(0.0, 0.0), updates).flat.tolist() == [1.0, 0.0]


def test_no_more_are_taken_to_be_hostile_than_the_paper_allows() -> None:
    updates = [random_weights(seed) for seed in range(4)]  # n = 4 allows f = 0

    found = aggregated(Krum(0.49, multi=True), CURRENT, updates).flat

    np.testing.assert_allclose(found, matrix(updates).mean(axis=0), rtol=1e-6, atol=1e-7)


def test_of_two_contributions_none_is_closer_to_the_others() -> None:
    assert aggregated(Krum(), vector(0.0), [vector(1.0), vector(3.0)]).flat.tolist() == [2.0]


def test_distances_are_exact_where_float32_of_raw_weights_is_not() -> None:
    """Updates that are close to each other and far from 0: what is subtracted is 10⁹ times what is left."""
    base = np.full(100_000, 1000.0, dtype=np.float32)
    rng = np.random.default_rng(0)
    rows = [base + rng.standard_normal(base.size).astype(np.float32) * np.float32(0.001) for _ in range(6)]
    exact = cdist(np.array(rows, dtype=np.float64), np.array(rows, dtype=np.float64), "sqeuclidean")
    stacked = np.array(rows)
    norms = (stacked * stacked).sum(axis=1)
    naive = norms[:, None] + norms[None, :] - 2 * stacked @ stacked.T

    np.testing.assert_allclose(squared_distances(rows, base), exact, rtol=1e-6)
    assert not np.allclose(naive, exact, rtol=0.5)


def test_distances_between_equal_rows_are_zero_and_none_is_negative() -> None:
    row = random_weights(1).flat
    squares = squared_distances([row, row.copy(), random_weights(2).flat], random_weights(3, 1e3).flat)

    assert squares[0, 1] == pytest.approx(0.0, abs=1e-9)
    assert (squares >= 0).all()


def test_equal_scores_keep_their_order() -> None:
    assert ranking(np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]), 0).tolist() == [0, 1, 2]


def test_a_model_of_many_blocks_is_walked_whole() -> None:
    shape = [(300_001,)]
    updates = [random_weights(seed, 1.0, shape) for seed in range(5)]
    rows = [update.flat for update in updates]
    origin = Weights.zeros(shape).flat

    exact = cdist(matrix(updates), matrix(updates), "sqeuclidean")

    np.testing.assert_allclose(squared_distances(rows, origin), exact, rtol=1e-12)
