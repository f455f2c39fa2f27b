"""How long something runs: until it is ended from outside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


class Lifetime:
    """Ends everything that runs in it, once and for all."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._over = False
        self._scopes: set[trio.CancelScope] = set()
        self._emptied = trio.Event()

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` until it ends, or until the lifetime does."""
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            if self._over:
                scope.cancel()
            try:
                await work()
            finally:
                self._scopes.discard(scope)
                if not self._scopes:
                    self._emptied.set()

    async def end(self) -> None:
        """Cancel everything, and wait until it is gone: what was being written has been."""
        self._over = True
        for scope in self._scopes:
            scope.cancel()
        while self._scopes:
            self._emptied = trio.Event()
            await self._emptied.wait()
