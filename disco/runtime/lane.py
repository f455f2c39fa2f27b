"""A task's large messages a few at a time, as long as they come fast.

Receiving many large messages at once gains nothing: each takes its share of the same processor, and every one that is
half received holds memory. So where senders are fast, one is received while the one before it is summed, and the
others wait in their senders. A sender that makes the server wait leaves the lane at once and goes on beside it, so
that slow ones cost nobody anything.
"""

from __future__ import annotations

import trio

#: Messages that are received or summed at once: one each.
WIDTH = 2
#: Seconds without a byte after which a sender is slow.
STALL_SECONDS = 0.002


class Lane:
    """Room for a few fast senders at a time, in the order of coming."""

    def __init__(self, width: int = WIDTH) -> None:
        """Make an empty one."""
        self._room = trio.CapacityLimiter(width)
        self._inside: set[object] = set()

    async def enter(self, sender: object) -> None:
        """Wait for room; `sender` is inside until it leaves. Who is inside already need not wait."""
        if sender not in self._inside:
            await self._room.acquire_on_behalf_of(sender)
            self._inside.add(sender)

    def leave(self, sender: object) -> None:
        """Give the room of `sender`, if it has any, to the next."""
        if sender in self._inside:
            self._inside.remove(sender)
            self._room.release_on_behalf_of(sender)
