"""How many connections may be open, and how quickly WebSockets may come: in all, and for each client address."""

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
#: Connections that an address may have beside its WebSockets: for pages, and for being told that it has too many.
SPARE = 256
#: Addresses remembered for their rate. Who was forgotten begins with a full bucket.
REMEMBERED = 10_000


class Door:
    """Lets WebSockets in by count and rate. `inside` is how many are open."""

    def __init__(self, limits: Limits) -> None:
        """Make one through which nobody has come."""
        self._limits = limits
        self._rates: dict[str, TokenBucket] = {}
        self._by_address: Counter[str] = Counter()
        self._connected: Counter[str] = Counter()
        self.inside = 0

    @contextmanager
    def connected(self, address: str) -> Iterator[None]:
        """Count one TCP connection, whatever it is used for, for as long as the block lasts.

        Args:
            address: at its other end. A proxy's is nobody's, and not to be counted.

        Raises:
            TooMany: the address has more than anybody needs.
        """
        if is_loopback(address):
            yield
            return
        group, most = group_of(address), self._limits.connections_per_address + SPARE
        if self._connected[group] >= most:
            raise TooMany(
                f"an address has {most} connections, limits.connections_per_address and {SPARE} more"
            )
        self._connected[group] += 1
        try:
            yield
        finally:
            self._connected[group] -= 1
            if not self._connected[group]:
                del self._connected[group]

    def entered(self, address: str, now: float) -> Place:
        """Count one WebSocket until it leaves its place.

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
        return Place(self, group)

    def left(self, group: str) -> None:
        """Count one WebSocket of a group of addresses less."""
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


class Place:
    """One WebSocket's place among those that are open; left at the end of a block, or by `leave`."""

    __slots__ = ("_door", "_group")

    def __init__(self, door: Door, group: str) -> None:
        """Take what the door has counted."""
        self._door: Door | None = door
        self._group = group

    def leave(self) -> None:
        """Give the place back. A second time does nothing."""
        door, self._door = self._door, None
        if door is not None:
            door.left(self._group)

    def __enter__(self) -> None:
        """Stay until the end of the block."""

    def __exit__(self, *exc: object) -> None:
        self.leave()
