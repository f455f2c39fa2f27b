"""Buffered asynchronous aggregation: contributions of older rounds count, the less the older they are."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np

from disco.core.aggregation.changes import stepped
from disco.core.events import Contributed
from disco.core.weights import Float32s, Weights
from disco.errors import InvalidUpdate


class Staleness:
    """uₖ ← s(τ) (wₖ - w_{r-τ}), s(τ) = 1 / √(1 + τ), for a contribution to round r that began at round r - τ.

    Together with the mean this is FedBuff: w ← w + 1/K Σ s(τₖ) uₖ. The session closes a round as soon as its
    buffer is full (`RoundRules.buffer`), and whoever is slow contributes to a later one. A participant counts once
    a buffer.

    Defaults: K (``size``) is for the task to say, at least its minimum of participants; τ up to 10
    (``maxStaleness``). Memory: one model for each round back, and one while something is stale; they are read again
    from the rounds on disk, as far as they are kept, when the server restarts.

    Robustness: none of its own. Source: Nguyen et al. 2022 (arXiv 2106.06639), algorithm 1.
    """

    def __init__(self, limit: int = 10) -> None:
        """Make one that has not begun; `limit` is the largest τ, from 0 up."""
        self._limit = limit
        self._round = 0
        self._models: OrderedDict[int, Weights] = OrderedDict()
        self._room: Float32s = np.zeros(0, dtype=np.float32)
        self._delays: list[int] = []

    def begin(self, current: Weights, round_: int) -> None:
        """Start a round, and remember the models of as many before it as may still come."""
        self._round, self._delays = round_, []
        self._models[round_] = current
        for known in list(self._models):
            if not round_ - self._limit <= known <= round_:
                del self._models[known]

    def apply(self, update: Weights, made: Contributed) -> Weights:
        """Return the update, or what it becomes on the current model.

        Raises:
            InvalidUpdate: the structure differs, a value is not finite, or the model it began with is not known.
        """
        delay = self._round - made.round
        base, current = self._models.get(made.round), self._models[self._round]
        if base is None:
            raise InvalidUpdate(f"the model of round {made.round} is not at hand any more")
        update.require_structure(current.shapes)
        update.require_finite()
        if delay:
            if self._room.size != update.parameters:
                self._room = np.empty(update.parameters, dtype=np.float32)
            stepped(update, base.flat, 1.0 / math.sqrt(1.0 + delay), current.flat, self._room)
            update = Weights.from_flat(self._room, update.shapes)
            update.require_finite()
        self._delays.append(delay)
        return update

    def figures(self) -> Mapping[str, float]:
        """Return the mean and the largest τ of the round's contributions."""
        if not self._delays:
            return {}
        mean = sum(self._delays) / len(self._delays)
        return {"staleness_mean": mean, "staleness_max": float(max(self._delays))}

    def forget(self) -> None:
        """Forget every round."""
        self._models.clear()
