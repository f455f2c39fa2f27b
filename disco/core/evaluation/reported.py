"""The means of what participants report of themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping

from disco.core.aggregation.weighing import BySamples
from disco.core.evaluation.figures import MOST_FIGURES, PARTICIPANTS
from disco.core.events import Contributed


class Reported:
    """m = Σ sₖ mₖ / Σ sₖ for each figure, over the contributions of a round that report it; sₖ = min(nₖ, cap).

    What participants say of themselves is a claim, and so is nₖ, how many examples they have: the cap bounds what
    whoever claims most can do. Memory: two numbers a figure, whatever the number of participants.

    Args:
        weighing: makes sₖ of a contribution's samples, as a task that counts samples does for its model.
    """

    def __init__(self, weighing: BySamples | None = None) -> None:
        self._weighing = weighing or BySamples()
        self._means: dict[str, tuple[float, float]] = {}  # name → mean and the sum of the weights in it

    def begin(self) -> None:
        """Begin a round: what was reported before is forgotten."""
        self._means.clear()

    def add(self, made: Contributed) -> None:
        """Take in what a contribution that counts reports; names beyond those of one sender are passed over."""
        if not made.metrics or (made.samples is not None and not made.samples > 0):
            return
        share = self._weighing.share(made)
        for name, value in made.metrics.items():
            if name not in self._means and len(self._means) >= MOST_FIGURES:
                continue
            mean, before = self._means.get(name, (0.0, 0.0))
            part = share / (before + share)
            # Not mean + part (value - mean): the difference of two large figures may not be finite.
            self._means[name] = (mean * (1 - part) + value * part, before + share)

    def figures(self) -> Mapping[str, float]:
        """Return the means, each under its name after ``participants.``; those that are not finite are left out."""
        return {PARTICIPANTS + name: mean for name, (mean, _) in self._means.items() if math.isfinite(mean)}
