"""How much a contribution counts."""

from __future__ import annotations

from dataclasses import dataclass

from disco.core.aggregation.total import EQUAL_HEADROOM
from disco.core.events import Contributed
from disco.errors import InvalidUpdate


@dataclass(frozen=True, slots=True)
class Equally:
    """Every contribution counts the same: sₖ = 1."""

    #: Bits above the largest share that exact sums need.
    headroom = EQUAL_HEADROOM

    def share(self, made: Contributed) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True, slots=True)
class BySamples:
    """A contribution counts as much as the examples it was trained on, as its sender claims: sₖ = min(nₖ, cap).

    Counts are claims, and whoever claims most moves the mean most: the cap bounds what a lie can gain. Counts are
    rounded to whole numbers from 1 up.

    Args:
        cap: the most that a contribution counts.
        unstated: what one without a count counts, as most clients have no word for it; at most the cap.

    Source: McMahan et al. 2017 (arXiv 1602.05629), algorithm 1.
    """

    cap: int = 1000
    unstated: int = 1

    headroom = 20

    def share(self, made: Contributed) -> float:
        """Return the capped count.

        Raises:
            InvalidUpdate: it is 0: what was trained on nothing counts nothing.
        """
        if made.samples is None:
            return float(self.unstated)
        if not made.samples > 0:
            raise InvalidUpdate(f"samples is {made.samples:g}, and this task counts samples")
        return float(max(1, round(min(made.samples, self.cap))))
