"""The coordinate-wise trimmed mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disco.core.aggregation.held import Holding, Space, stacked
from disco.core.aggregation.sorting import sorted_rows
from disco.core.weights import Float32s


class TrimmedMean(Holding):
    """wᵢ ← mean of the contributions' i-th coordinates without the ⌊βK⌋ smallest and the ⌊βK⌋ largest.

    Every contribution counts the same, whatever its share.

    Defaults: β = 0.2 (``trim``). Memory: 4 bytes a parameter and contribution.

    Robustness: up to ⌊βK⌋ of K contributions, whatever they hold, cannot move a coordinate beyond the others' range.
    With K < 1/β nothing is trimmed: this is the mean then.

    Source: Yin et al. 2018 (arXiv 1803.01498), definition 2 and algorithm 1, option II.
    """

    def __init__(self, trim: float = 0.2, space: Space | None = None) -> None:
        """Make one that has not begun.

        Args:
            trim: β, the part cut off at either end, from 0 to below 1/2.
            space: where updates are held; in memory if None.
        """
        super().__init__(space)
        self._trim = trim

    def _join(self, rows: list[Float32s], shares: NDArray[np.float64], current: Float32s) -> Float32s:
        cut = part_of(self._trim, len(rows))
        flat = np.empty_like(current)
        for start, stop, block in stacked(rows):
            kept = sorted_rows(block)[cut : len(rows) - cut]
            total = kept[0].astype(np.float64)
            for row in kept[1:]:
                np.add(total, row, out=total)
            np.divide(total, len(kept), out=flat[start:stop], casting="same_kind")
        return flat


def part_of(part: float, count: int) -> int:
    """Return ⌊part · count⌋, where a product like 0.29 · 100 that falls just short of a whole number is that number."""
    return int(part * count + 1e-9)
