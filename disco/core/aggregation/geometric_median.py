"""The geometric median, by the smoothed Weiszfeld algorithm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disco.core.aggregation.held import Holding, Matrix64, Space, combined, squared_distances
from disco.core.weights import Float32s

#: Iterations end when no share of a contribution moves by more than this.
_SETTLED = 1e-12


class GeometricMedian(Holding):
    """w ← argmin_v Σ sₖ ‖wₖ - v‖ with shares sₖ, smoothed within ν.

    From v = Σ sₖ wₖ / Σ sₖ, again and again:

        bₖ = sₖ / max(ν, ‖wₖ - v‖)        v = Σ bₖ wₖ / Σ bₖ

    Every v is a mean of contributions with some shares c that sum up to 1, and ‖wₖ - v‖² = (D c)ₖ - cᵀDc / 2 with
    D the squared distances between contributions. So the model is walked twice, whatever the number of iterations.

    Defaults: sₖ = 1, ν = 1e-6 (``smoothing``), at most 100 iterations (``iterations``; the paper finds a handful to be
    enough). Memory: 4 bytes a parameter and contribution, and 8 K² bytes.

    Robustness: contributions with fewer than half of the shares, whatever they hold, cannot take it further than a
    constant times the spread of the others.

    Source: Pillutla et al. 2019 (arXiv 1912.13445), algorithms 1 and 2.
    """

    def __init__(self, smoothing: float = 1e-6, iterations: int = 100, space: Space | None = None) -> None:
        """Make one that has not begun.

        Args:
            smoothing: ν, a distance between weights, above 0.
            iterations: at most this many, at least 1.
            space: where updates are held; in memory if None.
        """
        super().__init__(space)
        self._smoothing = smoothing
        self._iterations = iterations

    def _join(self, rows: list[Float32s], shares: NDArray[np.float64], current: Float32s) -> Float32s:
        squares = squared_distances(rows, current)
        found = weiszfeld(squares, shares / shares.sum(), self._smoothing, self._iterations)
        return combined(rows, found, current)


def weiszfeld(
    squares: Matrix64, given: NDArray[np.float64], smoothing: float, iterations: int
) -> NDArray[np.float64]:
    """Return the shares of contributions in their smoothed geometric median.

    Args:
        squares: ‖wᵢ - wⱼ‖² for all pairs, shaped (K, K).
        given: sₖ, summing up to 1.
        smoothing: ν.
        iterations: at most this many.
    """
    shares = given
    for _ in range(iterations):
        reach = squares @ shares
        distances = np.sqrt(np.maximum(reach - shares @ reach / 2, 0.0))
        weighed = given / np.maximum(smoothing, distances)
        before, shares = shares, weighed / weighed.sum()
        if np.abs(shares - before).max() <= _SETTLED:
            break
    return shares
