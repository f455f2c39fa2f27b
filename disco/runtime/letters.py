"""What a coordinator takes in, and what it needs of a session and of whoever performs its effects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio

from disco.core.events import Effect, Event
from disco.errors import DiscoError
from disco.runtime.lines import Line


class Session(Protocol):
    """A pure state machine of `disco.core`."""

    @property
    def deadline(self) -> float:
        """When `Ticked` is due, in seconds of Trio's clock; inf when nothing is."""

    def handle(self, event: Any, now: float) -> Sequence[Effect]:
        """Take one event of its scheme in and return what is to be done, in order."""


class Performer(Protocol):
    """Performs the effects that are not about connections."""

    async def perform(self, effect: Effect) -> Event | None:
        """Perform one effect and return the event that answers it."""


@dataclass(slots=True)
class Letter:
    """What a connection handed in, for the session of `group`; `line` is None for a departure."""

    event: Event
    group: str
    line: Line | None
    span: Any = None
    handled: trio.Event = field(default_factory=trio.Event)


@dataclass(slots=True)
class Errand:
    """Work that the owner does between two events; `refusal` is what it raised."""

    work: Callable[[], Awaitable[Event | None]]
    group: str
    refusal: DiscoError | None = None
    handled: trio.Event = field(default_factory=trio.Event)
