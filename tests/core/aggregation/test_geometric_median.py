"""The geometric median, against a general optimizer and its own definition."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from disco.core.aggregation.geometric_median import GeometricMedian
from tests.core.aggregation.updates import aggregated, matrix, random_weights, vector

CURRENT = random_weights(0)


def minimal(points: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimize the weighted sum of distances with scipy."""

    def total(where: NDArray[np.float64]) -> float:
        return float(shares @ np.linalg.norm(points - where, axis=1))

    found: NDArray[np.float64] = minimize(total, points.mean(axis=0), method="BFGS", options={"gtol": 1e-9}).x
    return found


@pytest.mark.filterwarnings("ignore:Desired error")
@pytest.mark.parametrize("count", [3, 5, 8])
def test_it_minimizes_the_sum_of_distances(count: int) -> None:
    updates = [random_weights(seed) for seed in range(1, count + 1)]
    wanted = minimal(matrix(updates), np.ones(count))

    found = aggregated(GeometricMedian(iterations=2000), CURRENT, updates).flat

    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_shares_weigh() -> None:
    updates = [random_weights(seed) for seed in range(1, 6)]
    shares = np.array([1.0, 4.0, 1.0, 2.0, 3.0])
    wanted = minimal(matrix(updates), shares)

    found = aggregated(GeometricMedian(iterations=2000), CURRENT, updates, shares).flat

    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_on_a_line_it_is_the_median() -> None:
    updates = [vector(value, value) for value in (0.0, 1.0, 50.0)]

    found = aggregated(GeometricMedian(), vector(0.0, 0.0), updates).flat

    np.testing.assert_allclose(found, [1.0, 1.0], atol=1e-3)


def test_of_the_corners_of_a_square_it_is_the_center() -> None:
    updates = [vector(x, y) for x in (-1.0, 1.0) for y in (-1.0, 1.0)]

    np.testing.assert_allclose(aggregated(GeometricMedian(), vector(9.0, 9.0), updates).flat, 0.0, atol=1e-6)


def test_one_iteration_is_the_paper_s_step_written_out() -> None:
    updates = [random_weights(seed) for seed in range(1, 6)]
    points = matrix(updates)
    start = points.mean(axis=0)
    weighed = 1 / np.maximum(1e-6, np.linalg.norm(points - start, axis=1))
    wanted = weighed @ points / weighed.sum()

    found = aggregated(GeometricMedian(iterations=1), CURRENT, updates).flat

    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)


def test_smoothing_far_above_the_distances_gives_the_mean() -> None:
    updates = [random_weights(seed) for seed in range(1, 6)]

    found = aggregated(GeometricMedian(smoothing=1e6), CURRENT, updates).flat

    np.testing.assert_allclose(found, matrix(updates).mean(axis=0), rtol=1e-6, atol=1e-7)
