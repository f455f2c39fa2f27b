"""The coordinate-wise trimmed mean."""

from __future__ import annotations

import numpy as np

from disco.core.aggregation.held import Held, InMemory, Space, stacked
from disco.core.aggregation.sorting import sorted_rows
from disco.core.names import ParticipantID
from disco.core.weights import Weights


class TrimmedMean:
    """wᵢ ← mean of the contributions' i-th coordinates without the ⌊βK⌋ smallest and the ⌊βK⌋ largest.

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
        self._trim = trim
        self._held = Held(space or InMemory())

    def begin(self, current: Weights) -> None:
        """Start a round; what was held is let go."""
        self._held.begin(current)

    def add(self, update: Weights, share: float, sender: ParticipantID | None = None) -> None:
        """Hold one update. Every contribution counts the same, whatever its share.

        Raises:
            InvalidUpdate: the structure differs or a value is not finite; nothing has changed.
            StorageError: there is no room for it; nothing has changed.
        """
        self._held.add(update, share)

    def finish(self) -> Weights:
        """Take the trimmed mean of every coordinate; the current model if nothing was added."""
        current, count = self._held.current, len(self._held)
        if not count:
            return current
        cut = part_of(self._trim, count)
        flat = np.empty(current.parameters, dtype=np.float32)
        for start, stop, block in stacked(self._held.rows()):
            kept = sorted_rows(block)[cut : count - cut]
            total = kept[0].astype(np.float64)
            for row in kept[1:]:
                np.add(total, row, out=total)
            np.divide(total, len(kept), out=flat[start:stop], casting="same_kind")
        return Weights.from_flat(flat, current.shapes)


def part_of(part: float, count: int) -> int:
    """Return ⌊part · count⌋, where a product like 0.29 · 100 that falls just short of a whole number is that number."""
    return int(part * count + 1e-9)
