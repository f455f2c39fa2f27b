"""How contributions become a global model: one strategy a file, chosen by name."""

from __future__ import annotations

from typing import Protocol

from disco.core.weights import Weights


class Aggregator(Protocol):
    """One task's running aggregation. Pure numpy: no I/O, no clock, callable from a worker thread."""

    def begin(self, current: Weights) -> None:
        """Start a round from the current global model; whatever was added before is forgotten."""

    def add(self, update: Weights, share: float) -> None:
        """Take one update in, checking its values first.

        Args:
            update: of the current model's structure; not kept after the call.
            share: its weight relative to the others, above 0, dimensionless.

        Raises:
            InvalidUpdate: a value is not finite; nothing has changed.
        """

    def finish(self) -> Weights:
        """Return the new global model, in a buffer of its own. Callable again until `begin`."""
