"""Norm clipping: no contribution moves the model further than a radius."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from disco.core.aggregation.changes import distance, stepped
from disco.core.events import Contributed
from disco.core.weights import Float32s, Weights
from disco.errors import InvalidUpdate


class NormClipping:
    """uₖ ← uₖ min(1, S / ‖uₖ‖), where uₖ = wₖ - w is the change that a contribution makes.

    Defaults: none; S (``norm``) is a distance between weights that a task has to know: some times what an honest
    round moves. Memory: one model, when something is clipped, whatever the number of participants.

    Robustness: against contributions that are large, not against those that are wrong: h of K hostile ones move the
    mean by up to S h / K a round.

    Source: Sun et al. 2019 (arXiv 1911.07963), norm thresholding of updates.
    """

    def __init__(self, norm: float) -> None:
        """Make one that has not begun; `norm` is S, above 0."""
        self._norm = norm
        self._current = Weights.zeros(())
        self._room: Float32s = np.zeros(0, dtype=np.float32)
        self._clipped = 0

    def begin(self, current: Weights, round_: int) -> None:
        """Start a round: what was clipped before is forgotten."""
        self._current, self._clipped = current, 0

    def apply(self, update: Weights, made: Contributed) -> Weights:
        """Return the update, or a copy that is closer.

        Raises:
            InvalidUpdate: the structure differs or a value is not finite.
        """
        update.require_structure(self._current.shapes)
        origin = self._current.flat
        norm = distance(update, origin)
        if math.isnan(norm):
            update.require_finite()
            raise InvalidUpdate("weights has values whose squares are too large to be summed")
        if norm <= self._norm:
            return update
        if self._room.size != update.parameters:
            self._room = np.empty(update.parameters, dtype=np.float32)
        stepped(update, origin, self._norm / norm, origin, self._room)
        self._clipped += 1
        return Weights.from_flat(self._room, update.shapes)

    def figures(self) -> Mapping[str, float]:
        """Return how many contributions were clipped."""
        return {"clipped": float(self._clipped)}

    def forget(self) -> None:
        """Do nothing: nothing is left of earlier rounds."""
