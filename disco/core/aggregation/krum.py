"""Krum and Multi-Krum: contributions that others are close to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disco.core.aggregation.held import Holding, Matrix64, Space, combined, squared_distances
from disco.core.weights import Float32s


class Krum(Holding):
    """w ← the contribution, or the mean of the m contributions, with the smallest scores.

    Of n contributions, f are taken to be hostile. The score of contribution i is

        s(i) = Σ ‖uᵢ - uⱼ‖² over the n - f - 2 contributions j that are closest to i

    and m = 1 for Krum, n - f for Multi-Krum. f = ⌊hostile · n⌋, but never so many that n < 2f + 3, below which
    the paper promises nothing. Of 1 or 2 contributions, none is closer to the others: this is the mean then.
    Every contribution counts the same, whatever its share.

    Defaults: hostile = 0.2. Memory: 4 bytes a parameter and contribution, and 8 n² bytes.

    Robustness: f hostile contributions cannot take Krum far from the honest majority. Multi-Krum may average some
    hostile ones in that hide near it. With data that differ between participants, Krum follows one of them, and
    learns what its data can teach.

    Source: Blanchard et al. 2017 (arXiv 1703.02757), the Krum function, and Multi-Krum among its variants.
    """

    def __init__(self, hostile: float = 0.2, *, multi: bool = False, space: Space | None = None) -> None:
        """Make one that has not begun.

        Args:
            hostile: the part of contributions that may be hostile, from 0 to below 1/2.
            multi: whether to take the mean of the n - f best, or the best alone.
            space: where updates are held; in memory if None.
        """
        super().__init__(space)
        self._hostile = hostile
        self._multi = multi

    def _join(self, rows: list[Float32s], shares: NDArray[np.float64], current: Float32s) -> Float32s:
        count, chosen = len(rows), rows
        if count > 2:
            tolerated = min(int(self._hostile * count + 1e-9), (count - 3) // 2)
            best = ranking(squared_distances(rows, current), tolerated)
            chosen = [rows[index] for index in best[: count - tolerated if self._multi else 1]]
        if len(chosen) == 1:
            return chosen[0].copy()
        return combined(chosen, np.full(len(chosen), 1.0 / len(chosen)), current)


def ranking(squares: Matrix64, tolerated: int) -> NDArray[np.int64]:
    """Return the contributions from the smallest score to the largest; equal ones stay in their order.

    Args:
        squares: ‖uᵢ - uⱼ‖² for all pairs, shaped (n, n).
        tolerated: f.
    """
    neighbours = len(squares) - tolerated - 2
    # Sorted, the first of each row is the contribution's distance 0 to itself.
    scores = np.sort(squares, axis=1)[:, 1 : neighbours + 1].sum(axis=1)
    order: NDArray[np.int64] = np.argsort(scores, kind="stable")
    return order
