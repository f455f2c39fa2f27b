"""The weighted mean, as a running total."""

from __future__ import annotations

from disco.core.aggregation.total import EQUAL_HEADROOM, ExactTotal
from disco.core.names import ParticipantID
from disco.core.weights import Weights


class Mean:
    """w ← Σ sₖ wₖ / Σ sₖ over the contributions k of a round.

    The sum is exact (`disco.core.aggregation.total`): the mean is the true one, rounded, and bit for bit the same in
    any order of arrival, while Σ sₖ is at most 16,384, or 1,048,576 where shares count samples.

    Defaults: sₖ = 1. Memory: 8 bytes a parameter, whatever the number of participants.

    Robustness: none. One hostile contribution moves the mean anywhere.

    Source: McMahan et al. 2017 (arXiv 1602.05629), algorithm 1; sₖ is its nₖ where sample counts are given.
    """

    def __init__(self, headroom: int = EQUAL_HEADROOM) -> None:
        """Make one that has not begun. Shares that sum up to 2**headroom are summed exactly."""
        self._current = Weights.zeros(())
        self.total = ExactTotal(headroom)
        self._shares = 0.0

    def begin(self, current: Weights) -> None:
        """Start a round; the total's memory is reused while the structure stays."""
        self.total.begin(current)
        self._current, self._shares = current, 0.0

    def add(self, update: Weights, share: float, sender: ParticipantID | None = None) -> None:
        """Add one update to the total, block by block.

        Raises:
            InvalidUpdate: the structure differs or a value is not finite; the total is unchanged.
        """
        self.total.add(update, share)
        self._shares += share

    def finish(self) -> Weights:
        """Divide the total by the shares; the current model if nothing was added."""
        return self.total.divided(self._shares) if self._shares else self._current
