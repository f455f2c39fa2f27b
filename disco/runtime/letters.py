"""What a coordinator takes in, and what it needs of a session and of whoever performs its effects."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, Protocol, TypeAlias

import trio
from msgspec import Struct

from disco.core.effects import Effect
from disco.core.events import Event
from disco.errors import DiscoError
from disco.runtime.lines import Line


class Session(Protocol):
    """A pure state machine of `disco.core`."""

    @property
    def deadline(self) -> float:
        """When `Ticked` is due, in seconds of Trio's clock; inf when nothing is."""

    def handle(self, event: Any, now: float) -> Sequence[Effect]:
        """Take one event of its scheme in and return what is to be done, in order."""


class _Later(Enum):
    LATER = "later"


#: What `Performer.perform_now` returns of an effect that has to be awaited.
LATER: Final = _Later.LATER
Later: TypeAlias = Literal[_Later.LATER]


class Performer(Protocol):
    """Performs the effects that are not about connections."""

    def perform_now(self, effect: Effect) -> Event | Later | None:
        """Perform an effect that takes no time and return the event that answers it; do nothing if it takes long."""

    async def perform(self, effect: Effect) -> Event | None:
        """Perform one effect and return the event that answers it."""

    async def settle(self) -> None:
        """Do what nobody waits for, now that all effects of an event have been performed."""


class Course(Struct):
    """How far an event has been handled: what it led to, and is to be done.

    Args:
        group: whose session handles it.
        events: it, and those that answer effects.
        effects: the rest of what the latest event led to.
        waiting: the effect that has to be awaited first.
    """

    group: str
    events: deque[Event]
    effects: Iterator[Effect] = iter(())
    waiting: Effect | None = None


class Letter(Struct):
    """What a connection handed in, for the session of `group`; `line` is None for a departure.

    Args:
        handled: set when it has been handled; None where nobody waits for that.
        course: where its handling was left off; None if it has not begun.
        error: what its handling has raised.
    """

    event: Event
    group: str
    line: Line | None
    handled: trio.Event | None = None
    span: Any = None
    course: Course | None = None
    error: Exception | None = None

    def answer(self) -> None:
        """Tell whoever waits that it has been handled."""
        if self.handled is not None:
            self.handled.set()


@dataclass(slots=True)
class Errand:
    """Work that the owner does between two events; `refusal` is what it raised."""

    work: Callable[[], Awaitable[Event | None]]
    group: str
    refusal: DiscoError | None = None
    handled: trio.Event = field(default_factory=trio.Event)
