"""A stretch of work that waits for nothing, at whose end is done what was put off in it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType


class Turn:
    """Lets what is sent in one go be sent together: of answers to one client, with one system call.

    Of clients that are near, one that sleeps is woken by the first answer only, and waking it costs as much as four
    answers: it is better when all of them are there. One turn serves everything in an event loop; a turn within a turn
    ends with the outer one.
    """

    __slots__ = ("_calls", "_depth")

    def __init__(self) -> None:
        """Make one that has not begun."""
        self._calls: list[Callable[[], None]] = []
        self._depth = 0

    def defer(self, call: Callable[[], None]) -> bool:
        """Let what cannot raise be called at the end of the turn; do nothing, and say so, if there is none."""
        if self._depth:
            self._calls.append(call)
        return self._depth > 0

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if not self._depth and self._calls:
            calls, self._calls = self._calls, []
            for call in calls:
                call()
