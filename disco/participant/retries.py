"""When to try again, and when to give up."""

from __future__ import annotations

import random

#: Seconds before a lost connection is tried again: at first, and at most.
FIRST_SECONDS, LONGEST_SECONDS = 0.2, 10.0


class Retries:
    """Delays between tries: they double, and each is shortened at random so that a crowd does not come back at once.

    Source: "equal jitter" in Brooker, Exponential Backoff And Jitter, 2015.
    """

    def __init__(self, patience: float, chance: random.Random | None = None) -> None:
        """Make one that gives up `patience` seconds after the first failure in a row."""
        self._patience = patience
        self._chance = chance or random.Random()
        self._failing_since: float | None = None
        self._next = FIRST_SECONDS

    def after_failure(self, now: float, lasted: float) -> float | None:
        """Return the seconds to wait before the next try, or None to give up.

        Args:
            now: seconds, never less than at the call before.
            lasted: how long the connection was good for, in seconds; 0 if there was none. One that failed at once
                is no reason to begin anew.
        """
        if self._failing_since is None or lasted > LONGEST_SECONDS:
            self._failing_since = now
            self._next = FIRST_SECONDS
        left = self._failing_since + self._patience - now
        if left <= 0:
            return None
        delay = self._next * self._chance.uniform(0.5, 1.0)
        self._next = min(2 * self._next, LONGEST_SECONDS)
        return min(delay, left)
