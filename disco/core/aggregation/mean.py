"""The weighted mean, as a running total."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disco.core.weights import BLOCK, Weights
from disco.errors import InvalidUpdate


class Mean:
    """w ← Σ sₖ wₖ / Σ sₖ over the contributions k of a round.

    Memory: one float64 total, 8 bytes a parameter, whatever the number of participants. In float64 the order
    of arrival moves the result by far less than half a float32 unit in the last place.

    Source: McMahan et al. 2017 (arXiv 1602.05629), algorithm 1, with sₖ = 1 where no sample counts are given.
    """

    def __init__(self) -> None:
        """Make one that has not begun."""
        self._current = Weights.zeros(())
        self._total: NDArray[np.float64] = np.zeros(0)
        self._shares = 0.0

    def begin(self, current: Weights) -> None:
        """Start a round; the total's memory is reused while the structure stays."""
        if self._total.size != current.parameters:
            self._total = np.zeros(current.parameters)
        elif self._shares:
            self._total.fill(0.0)
        self._current = current
        self._shares = 0.0

    def add(self, update: Weights, share: float) -> None:
        """Add one update to the total, block by block.

        Raises:
            InvalidUpdate: the structure differs or a value is not finite; the total is unchanged.
        """
        update.require_structure(self._current.shapes)
        update.require_finite()
        if not 0 < share < np.inf:
            raise InvalidUpdate(f"share must be above 0 and finite, not {share}")
        start = 0
        for tensor in update.tensors:
            for offset in range(0, tensor.size, BLOCK):
                block = tensor[offset : offset + BLOCK]
                total = self._total[start + offset : start + offset + block.size]
                if share == 1.0:
                    np.add(total, block, out=total)
                else:
                    np.add(total, np.multiply(block, share, dtype=np.float64), out=total)
            start += tensor.size
        self._shares += share

    def finish(self) -> Weights:
        """Divide the total by the shares; the current model if nothing was added."""
        if not self._shares:
            return self._current
        flat = np.empty(self._total.size, dtype=np.float32)
        np.divide(self._total, self._shares, out=flat, casting="same_kind")
        return Weights.from_flat(flat, self._current.shapes)
