"""An admin's pause: what it interrupts, and what waits for its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


class Pause:
    """Off until it begins. Beginning and ending never wait."""

    def __init__(self) -> None:
        """Make one that is off."""
        self.on = False
        self._ended = trio.Event()
        self._interruptible: set[trio.CancelScope] = set()

    def begin(self) -> None:
        """Interrupt everything that runs unless paused."""
        self.on = True
        for scope in self._interruptible:
            scope.cancel()

    def end(self) -> None:
        """Let everything that waits go on."""
        self.on = False
        self._ended.set()
        self._ended = trio.Event()

    async def over(self) -> None:
        """Wait until there is no pause."""
        while self.on:
            await self._ended.wait()

    async def run_unless_on(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` until it ends, or until a pause begins; not at all if there is one."""
        if self.on:
            return
        with trio.CancelScope() as scope:
            self._interruptible.add(scope)
            try:
                await work()
            finally:
                self._interruptible.discard(scope)
