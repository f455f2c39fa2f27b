"""A participant of a federated task, under Trio."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any

import numpy as np
import trio

from disco.core.events import Contributed, ParticipantID, TaskID
from disco.core.weights import Float32s, Weights
from disco.errors import ConnectionLost, DiscoError, InvalidUpdate, Refused, SettingsError
from disco.participant.address import Address
from disco.participant.attendance import THREAD_BYTES, Attendance, Place
from disco.participant.connection import Deadlines
from disco.participant.http import fetch_task
from disco.participant.scope import background
from disco.participant.standing import HABITS, News, Outstanding, Standing

log = logging.getLogger("disco.participant")


class Participant:
    """Takes part in a federated task: `async with Participant(url, task) as participant`.

    Use it from one task: one exchange at a time. It reads what the server says all the while, so train in a worker
    thread (`trio.to_thread.run_sync`) if that takes long.

    Args:
        url: the server's, http, https, ws or wss.
        task: the task's ID.
        dialect: ``v4``, ``v3`` or ``v2``. v4 is pushed the model, is told why a contribution is refused, and keeps its
            place over reconnections.
        timeout: seconds that each answer of the server may take; waiting for a round is no answer.
        patience: seconds during which a lost connection is tried again.
        identity: the ID to take part under, in v2 a UUID; None for a new one.
        on_news: is called with what happens while an exchange waits.
    """

    def __init__(
        self,
        url: str,
        task: str,
        *,
        dialect: str = "v4",
        timeout: float = 15.0,
        patience: float = 300.0,
        identity: str | None = None,
        on_news: Callable[[News], None] | None = None,
    ) -> None:
        """Prepare; nothing is sent before the block begins.

        Raises:
            SettingsError: `url` is no address, or there is no such dialect.
        """
        if dialect not in HABITS:
            raise SettingsError(f"dialect must be one of {', '.join(HABITS)}, not {dialect}")
        self._place = Place(Address.parse(url), TaskID(task), Deadlines(answer=timeout), patience)
        self._standing = Standing(HABITS[dialect])
        self._standing.identity = identity or (str(uuid.uuid4()) if dialect == "v2" else None)
        self._attendance = Attendance(self._place, self._standing, on_news)
        self._document: dict[str, Any] = {}
        self._stack = AsyncExitStack()

    @property
    def task(self) -> Mapping[str, Any]:
        """The task's JSON document, as the server gave it."""
        return self._document

    @property
    def weights(self) -> list[Float32s]:
        """A copy of the current global model: float32 arrays in the model's order."""
        return _copied(self._standing.weights)

    @property
    def round(self) -> int:
        """The current round, from 0."""
        return self._standing.round

    @property
    def participants(self) -> int:
        """How many are present, this one included; 0 while unknown."""
        return self._standing.participants

    @property
    def identity(self) -> str | None:
        """The ID under which this one takes part; None before v3 or v4 servers have given one."""
        return self._standing.identity

    async def __aenter__(self) -> Participant:
        """Join the task and get its current model.

        Raises:
            ConnectionLost: no server answers.
            Refused: the server has no such task, or refuses; in its own words.
        """
        self._document = await fetch_task(self._place.address, self._place.task, self._place.deadlines.answer)
        async with AsyncExitStack() as stack:
            nursery = await stack.enter_async_context(background())
            await nursery.start(self._attendance.run)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Leave the task."""
        self._attendance.failure = self._attendance.failure or ConnectionLost("this participant has left")
        return await self._stack.__aexit__(kind, error, traceback)

    async def exchange(
        self,
        weights: Sequence[Any],
        samples: float | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> list[Float32s]:
        """Contribute to the current round, wait until it has closed, and return the new global model.

        A contribution that comes too late for its round is no error: what is returned is the current model, and the
        log says so. Waiting has no end of its own (a round waits for more participants); use `trio.move_on_after`.

        Args:
            weights: arrays of the model's shapes, in its order; anything numpy can read.
            samples: how many examples they were trained on (v4).
            metrics: figures of one's own by name, such as ``{"accuracy": 0.93}`` (v4).

        Returns:
            A copy of the global model: float32 arrays.

        Raises:
            Refused: the server does not take it, for the reason it gives; another one can be exchanged.
            ConnectionLost: the server has been gone for `patience` seconds; in v3, at once when the connection is lost
                while a contribution is on its way.
            trio.BusyResourceError: another exchange is going on.
        """
        if self._standing.outstanding is not None:
            raise trio.BusyResourceError("another exchange of this participant is going on")
        made = await self._write(Weights.from_arrays(weights), samples, metrics)
        self._standing.put_out(made)
        self._attendance.ring()
        try:
            while made.outcome is None:
                if self._attendance.failure is not None:
                    raise self._attendance.failure
                await self._attendance.changed()
        finally:
            self._standing.withdraw()
        if isinstance(made.outcome, DiscoError):
            raise made.outcome
        if not made.accepted and self._standing.habits.form.verdicts:
            reason = made.discarded or "it closed while the connection was gone"
            log.info("%s adopted round %s instead: %s", self._attendance.name(made.round), self.round, reason)
        return _copied(made.outcome)

    async def _write(
        self, update: Weights, samples: float | None, metrics: Mapping[str, float] | None
    ) -> Outstanding:
        """Make a contribution to the current round.

        Raises:
            Refused: it cannot count, and this dialect has no word for the server to say so.
        """
        if not self._standing.habits.form.verdicts:
            try:
                update.require_structure(self._standing.weights.shapes)
                update.require_finite()
            except InvalidUpdate as error:
                raise Refused(str(error)) from error
        key = uuid.uuid4().hex
        me = ParticipantID(self.identity or "")
        event = Contributed(me, self.round, update, key, samples, metrics)
        if update.parameters * 4 > THREAD_BYTES:
            message = await trio.to_thread.run_sync(self._attendance.compose, event)
        else:
            message = self._attendance.compose(event)
        return Outstanding(event.round, key, message)


def _copied(weights: Weights) -> list[Float32s]:
    """Return arrays that their receiver may change."""
    return [np.array(array) for array in weights.arrays()]
