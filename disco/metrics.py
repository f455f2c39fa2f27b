"""Counts of what happened, handed to whoever counts; never global."""

from __future__ import annotations

from collections import Counter


class Metrics:
    """Counters by name and labels. Cheap enough to call for every message."""

    def __init__(self) -> None:
        self._counters: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add `amount` to a counter."""
        self._counters[name, tuple(sorted(labels.items()))] += amount  # type: ignore[assignment]  # floats too

    def value(self, name: str, **labels: str) -> float:
        """Return a counter's value; 0 if it was never counted."""
        return self._counters[name, tuple(sorted(labels.items()))]
