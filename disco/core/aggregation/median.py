"""The coordinate-wise median."""

from __future__ import annotations

import numpy as np

from disco.core.aggregation.held import Held, InMemory, Space, stacked
from disco.core.aggregation.sorting import sorted_rows
from disco.core.names import ParticipantID
from disco.core.weights import Weights


class Median:
    """wᵢ ← median of the contributions' i-th coordinates; of an even number, the mean of the middle two.

    Defaults: none to set. Memory: 4 bytes a parameter and contribution.

    Robustness: fewer than half of the contributions, whatever they hold, cannot move a coordinate beyond the
    others' range. Where the honest differ from each other (few classes each), the median ignores most of them.

    Source: Yin et al. 2018 (arXiv 1803.01498), definition 1 and algorithm 1, option I.
    """

    def __init__(self, space: Space | None = None) -> None:
        """Make one that has not begun, holding updates in `space`; in memory if None."""
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
        """Take the median of every coordinate; the current model if nothing was added."""
        current = self._held.current
        if not len(self._held):
            return current
        flat = np.empty(current.parameters, dtype=np.float32)
        lower, upper = (len(self._held) - 1) // 2, len(self._held) // 2
        for start, stop, block in stacked(self._held.rows()):
            rows = sorted_rows(block)
            middle = np.add(rows[lower], rows[upper], dtype=np.float64)
            np.multiply(middle, 0.5, out=flat[start:stop], casting="same_kind")
        return Weights.from_flat(flat, current.shapes)
