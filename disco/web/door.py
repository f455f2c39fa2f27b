"""How many WebSockets may be open, and how quickly they may come: in all, and for each client address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from disco.core.rate import TokenBucket
from disco.errors import TooMany
from disco.settings import Limits
from disco.web.callers import group_of, is_loopback

#: A burst is this many seconds' worth of joins: a class that comes back at once after a restart.
BURST_SECONDS = 5
#: Addresses remembered for their rate. Who was forgotten begins with a full bucket.
REMEMBERED = 10_000


class Door:
    """Lets WebSockets in by count and rate. `inside` is how many are open."""

    def __init__(self, limits: Limits) -> None:
        """Make one through which nobody has come."""
        self._limits = limits
        self._rates: dict[str, TokenBucket] = {}
        self._by_address: Counter[str] = Counter()
        self.inside = 0

    @contextmanager
    def entered(self, address: str, now: float) -> Iterator[None]:
        """Count one WebSocket for as long as the block lasts.

        Args:
            address: the client's.
            now: seconds on any clock that the caller keeps to.

        Raises:
            TooMany: a limit is reached; the message names it.
        """
        limits, group = self._limits, group_of(address)
        if self.inside >= limits.connections:
            raise TooMany(f"limits.connections, {limits.connections}, are open; try again later")
        if not is_loopback(address):
            self._admit(group, now)
        self.inside += 1
        self._by_address[group] += 1
        try:
            yield
        finally:
            self.inside -= 1
            self._by_address[group] -= 1
            if not self._by_address[group]:
                del self._by_address[group]

    def _admit(self, group: str, now: float) -> None:
        limits = self._limits
        if self._by_address[group] >= limits.connections_per_address:
            most = limits.connections_per_address
            raise TooMany(f"your address has limits.connections_per_address, {most}, open; close some")
        bucket = self._rates.pop(group, None)
        if bucket is None:
            bucket = TokenBucket(limits.joins_per_second, BURST_SECONDS * limits.joins_per_second)
        self._rates[group] = bucket  # the newest is last
        if len(self._rates) > REMEMBERED:
            del self._rates[next(iter(self._rates))]
        if not bucket.allow(now):
            rate = limits.joins_per_second
            raise TooMany(f"your address joins more often than limits.joins_per_second, {rate}; slow down")
