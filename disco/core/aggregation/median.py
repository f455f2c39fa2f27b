"""The coordinate-wise median."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disco.core.aggregation.held import Holding, stacked
from disco.core.aggregation.sorting import sorted_rows
from disco.core.weights import Float32s


class Median(Holding):
    """wᵢ ← median of the contributions' i-th coordinates; of an even number, the mean of the middle two.

    Every contribution counts the same, whatever its share.

    Defaults: none to set. Memory: 4 bytes a parameter and contribution.

    Robustness: fewer than half of the contributions, whatever they hold, cannot move a coordinate beyond the
    others' range. Where the honest differ from each other (few classes each), the median ignores most of them.

    Source: Yin et al. 2018 (arXiv 1803.01498), definition 1 and algorithm 1, option I.
    """

    def _join(self, rows: list[Float32s], shares: NDArray[np.float64], current: Float32s) -> Float32s:
        flat = np.empty_like(current)
        lower, upper = (len(rows) - 1) // 2, len(rows) // 2
        for start, stop, block in stacked(rows):
            ranked = sorted_rows(block)
            middle = np.add(ranked[lower], ranked[upper], dtype=np.float64)
            np.multiply(middle, 0.5, out=flat[start:stop], casting="same_kind")
        return flat
