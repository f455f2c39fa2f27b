"""When rounds close, and what they come to."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RoundRules:
    """When rounds close.

    Args:
        minimum: participants that make a round, at least 1.
        interval: seconds after a round's first contribution when it closes with what it has.
        retry: seconds before a round that could not be aggregated is tried again.
        reset_when_empty: whether the training starts anew when the last participant leaves.
        buffer: contributions with which a round closes at once, at least the minimum; None to wait for everyone.
        max_staleness: rounds that a contribution may be behind and still count.
    """

    minimum: int
    interval: float
    retry: float
    reset_when_empty: bool = False
    buffer: int | None = None
    max_staleness: int = 0


class RoundClock:
    """When the open round closes, by its rules; time comes in as an argument."""

    def __init__(self, rules: RoundRules) -> None:
        """Begin with a round to which nobody has contributed."""
        self._rules = rules
        self.restart()

    def restart(self) -> None:
        """Begin another round."""
        self._first_at, self._retry_at, self._closing = math.inf, -math.inf, False

    def contributed(self, now: float) -> None:
        """Count the interval from the first contribution."""
        self._first_at = min(self._first_at, now)

    def close(self, now: float) -> float:
        """Let nothing be due while the round is being closed, and return the seconds that it took."""
        self._closing = True
        return now - self._first_at

    def retry(self, now: float) -> None:
        """Close the round, which could not be closed now, later."""
        self._closing, self._retry_at = False, now + self._rules.retry

    def deadline(self, contributions: int, *, everyone: bool) -> float:
        """Return when the round is to close, in seconds; inf while it is not.

        Args:
            contributions: so far.
            everyone: whether everyone who is present has contributed.
        """
        if self._closing or contributions < self._rules.minimum:
            return math.inf
        full = self._rules.buffer is not None and contributions >= self._rules.buffer
        if full or everyone:
            return self._retry_at
        return max(self._first_at + self._rules.interval, self._retry_at)


@dataclass(frozen=True, slots=True)
class Totals:
    """What all closed rounds come to.

    Args:
        rounds: how many have closed.
        contributions: summed in them.
    """

    rounds: int = 0
    contributions: int = 0

    def after(self, contributions: int) -> Totals:
        """Return the totals after one more round."""
        return Totals(self.rounds + 1, self.contributions + contributions)

    @property
    def average(self) -> float:
        """Contributions a round; 0 before the first."""
        return self.contributions / self.rounds if self.rounds else 0.0
