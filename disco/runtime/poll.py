"""One task that waits for all connections at rest, and handles what is small without waking theirs.

To wake a task for every message, Trio registers its socket anew, looks at it once more, and switches there and back: of
200 connections that send a kilobyte each, that takes two thirds of the time. Here sockets stay registered, and whoever
has one is called in turn, in this task. Only what cannot be dealt with in such a call wakes the connection's own task.

The sockets are in an epoll object of their own, which is a file that Trio can wait for like any other. While only one
connection is busy, it looks a few times more before it waits: to sleep and be woken takes longer than a client nearby
takes to answer. It does so where that has been worth it lately, and sometimes to find out. Of many busy connections
it is better to find several at a time.

Where there is no epoll (macOS, Windows) there is no `Poll` either, and connections wait on their own, which is only
slower.

Source: epoll(7), "Will closing a file descriptor cause it to be removed": an epoll object can itself be polled.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import trio

from disco.runtime.turn import Turn

#: Calls before other tasks get their turn.
CALLS = 64
#: Seconds to go on looking for what comes next. Of a round trip of 25 µs on one machine, that saves 6. Clients that
#: take about as long to come back are missed now and then, and a trip of 57 µs takes 110 while they are: with 20 µs,
#: that was one measurement in twelve.
LOOK_SECONDS = 50e-6
#: Looks in vain after which it is not worth it any more.
VAIN_LOOKS = 16
#: It is tried again each time after so many turns.
TURNS_BETWEEN_LOOKS = 64

AVAILABLE = hasattr(select, "epoll")


@dataclass(slots=True)
class _Waiting:
    """Who waits for a socket, and whether it has been let go of."""

    ready: Callable[[], bool]
    task: trio.lowlevel.Task
    left: bool = False


class Poll:
    """Calls whoever has a socket when something has come on it. Made where `AVAILABLE`; `run` is its task."""

    def __init__(self, turn: Turn | None = None) -> None:
        """Make one that waits for nothing; the calls that it makes together are one turn."""
        self._turn = turn or Turn()
        self._epoll = select.epoll()
        self._waiting: dict[int, _Waiting] = {}
        self._latest = -1  # whose turn was the last
        self._looks = 0  # that may still be in vain
        self._turns = 0

    async def run(self) -> None:
        """Make the calls that are due until cancelled."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                self._turns += 1
                found, calls = self._epoll.poll(0, CALLS), CALLS
                while found:
                    self._call(found)
                    calls -= len(found)
                    alone, self._latest = found == [(self._latest, select.EPOLLIN)], found[-1][0]
                    found = self._look(calls) if alone and calls else []
        finally:
            for descriptor in tuple(self._waiting):
                self.leave(descriptor)
            self._epoll.close()

    def _call(self, found: list[tuple[int, int]]) -> None:
        with self._turn:
            for descriptor, _ in found:
                waiting = self._waiting.get(descriptor)
                if waiting is not None and not waiting.ready():
                    self._wake(descriptor)

    def _look(self, most: int) -> list[tuple[int, int]]:
        """Return what comes in the next moment, if looking for it is likely to be worth it."""
        if not self._looks and self._turns % TURNS_BETWEEN_LOOKS:
            return []
        until = perf_counter() + LOOK_SECONDS
        while not (found := self._epoll.poll(0, most)) and perf_counter() < until:
            pass
        self._looks = VAIN_LOOKS if found else max(self._looks - 1, 0)
        return found

    async def wait(self, descriptor: int, ready: Callable[[], bool]) -> None:
        """Call `ready` whenever something has come on a socket, until it returns False.

        Args:
            descriptor: a socket's, for which nobody else waits here. Call `leave` before it is closed.
            ready: called in this object's own task, so it must not take long and must not raise; it may be called
                without anything having come.

        Raises:
            trio.ClosedResourceError: `leave` was called, or nothing is called any more.
        """
        if self._epoll.closed:
            raise trio.ClosedResourceError("nobody looks at this socket any more")

        def abort(_: object) -> trio.lowlevel.Abort:
            self._forget(descriptor)
            return trio.lowlevel.Abort.SUCCEEDED

        self._epoll.register(descriptor, select.EPOLLIN)
        waiting = self._waiting[descriptor] = _Waiting(ready, trio.lowlevel.current_task())
        await trio.lowlevel.wait_task_rescheduled(abort)
        if waiting.left:
            raise trio.ClosedResourceError("the socket is closed")

    def leave(self, descriptor: int) -> None:
        """Let go of a socket, and tell whoever waits for it."""
        if descriptor in self._waiting:
            self._waiting[descriptor].left = True
            self._wake(descriptor)

    def _wake(self, descriptor: int) -> None:
        trio.lowlevel.reschedule(self._forget(descriptor).task)

    def _forget(self, descriptor: int) -> _Waiting:
        self._epoll.unregister(descriptor)
        return self._waiting.pop(descriptor)
