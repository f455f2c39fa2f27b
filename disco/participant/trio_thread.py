"""A Trio loop for code that has none."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

import trio

from disco.errors import ConnectionLost

T = TypeVar("T")


class TrioThread:
    """A Trio loop in a thread of its own, beside whatever runs in the threads that call it."""

    def __init__(self, name: str) -> None:
        """Start the thread. It does not keep the interpreter from ending."""
        started: Future[tuple[trio.lowlevel.TrioToken, trio.Nursery]] = Future()
        self._thread = threading.Thread(target=trio.run, args=(_main, started), name=name, daemon=True)
        self._thread.start()
        self._token, self.nursery = started.result()

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run an async function in the loop, and wait for it.

        What interrupts the wait, such as Ctrl-C, cancels the function; the interrupt goes on once it has ended, so that
        the next call does not meet it. A second interrupt does not wait.

        Raises:
            ConnectionLost: the loop has stopped, or stops meanwhile.
        """
        answer: Future[T] = Future()
        scope = trio.CancelScope()

        async def perform() -> None:
            try:
                with scope:
                    answer.set_result(await function())
            except Exception as error:
                answer.set_exception(error)
            finally:
                if not answer.done():
                    answer.set_exception(ConnectionLost("this participant is closed"))

        self._soon(self.nursery.start_soon, perform)
        try:
            return answer.result()
        except KeyboardInterrupt:
            self._soon(scope.cancel)
            wait([answer])
            raise

    def stop(self) -> None:
        """Cancel everything in the loop and wait until it has ended."""
        with contextlib.suppress(ConnectionLost):  # it had ended
            self._soon(self.nursery.cancel_scope.cancel)
        self._thread.join()

    def _soon(self, function: Callable[..., object], *args: Any) -> None:
        try:
            self._token.run_sync_soon(function, *args)
        except trio.RunFinishedError as error:
            raise ConnectionLost("this participant is closed") from error


async def _main(started: Future[tuple[trio.lowlevel.TrioToken, trio.Nursery]]) -> None:
    async with trio.open_nursery() as nursery:
        started.set_result((trio.lowlevel.current_trio_token(), nursery))
        await trio.sleep_forever()
