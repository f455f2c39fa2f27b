"""How often something may happen: a token bucket, with time handed in."""

from __future__ import annotations


class TokenBucket:
    """Allow `rate` events a second on average, and up to `burst` at once.

    The bucket starts full. It holds two numbers whatever the load, so one per connection costs nothing.

    Args:
        rate: tokens that come back each second; above 0.
        burst: tokens that fit; at least 1.

    Raises:
        ValueError: a number is out of range.
    """

    __slots__ = ("_burst", "_rate", "_tokens", "_when")

    def __init__(self, rate: float, burst: float) -> None:
        if not rate > 0 or not burst >= 1:
            raise ValueError(f"a bucket needs rate > 0 and burst >= 1, not {rate} and {burst}")
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._when: float | None = None

    def allow(self, now: float) -> bool:
        """Take one token if there is one.

        Args:
            now: seconds on any clock that the caller keeps to; a time before the last one counts as the last.
        """
        self._refill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def take(self, now: float) -> float:
        """Take one token, in advance if need be, and return after how many seconds it is there.

        Args:
            now: as for `allow`.
        """
        self._refill(now)
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def _refill(self, now: float) -> None:
        if self._when is not None and now > self._when:
            self._tokens = min(self._burst, self._tokens + (now - self._when) * self._rate)
        if self._when is None or now > self._when:
            self._when = now
