"""A participant of a federated task, under Trio."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import trio

from disco.core.events import Contributed
from disco.core.names import ParticipantID, TaskID
from disco.core.weights import Float32s, Weights
from disco.errors import ConnectionLost, DiscoError, InvalidUpdate, Refused, SettingsError, TrainingEnded
from disco.participant.address import Address
from disco.participant.attendance import THREAD_BYTES, Attendance, Place
from disco.participant.connection import Deadlines
from disco.participant.http import fetch_task
from disco.participant.local_privacy import LocalPrivacy, asked_by
from disco.participant.masks import attendance_for
from disco.participant.scope import background
from disco.participant.standing import HABITS, News, Outstanding, Standing

log = logging.getLogger("disco.participant")

#: Seconds of waiting after which a participant whose dialect has no word for it asks whether the training has ended.
ASK_SECONDS = 5.0


class Participant:
    """Takes part in a federated task: `async with Participant(url, task) as participant`.

    Use it from one task: one exchange at a time. It reads what the server says all the while, so train in a worker
    thread (`trio.to_thread.run_sync`) if that takes long.

    Args:
        url: the server's, http, https, ws or wss.
        task: the task's ID.
        dialect: ``v4``, ``v3`` or ``v2``. v4 is pushed the model, is told why a contribution is refused, and keeps its
            place over reconnections.
        token: for a task or server that needs one: what `disco tokens create` printed, or a JWT. It is shown to this
            server only, and neither logged nor part of any message.
        ca: a file of certificates (PEM), for a server whose certificate no authority of this machine's vouches for.
        cert: a file with a certificate of one's own (PEM), for a server that wants to see one.
        key: a file with its private key, unless that is in `cert` too.
        timeout: seconds that each answer of the server may take; waiting for a round is no answer.
        patience: seconds during which a lost connection is tried again.
        identity: the ID to take part under, in v2 a UUID; None for a new one.
        privacy: what protects each contribution before it is sent: ``task`` for what the task asks for, None for
            nothing, or one's own. See `disco.participant.local_privacy`.
        group_secret: for tasks that mask contributions: what all participants know and the server does not, such as
            32 random bytes in hexadecimal. With it, the server cannot take a participant's place, and a task that masks
            nothing is refused.
        on_news: is called with what happens while an exchange waits.
    """

    def __init__(
        self,
        url: str,
        task: str,
        *,
        dialect: str = "v4",
        token: str | None = None,
        ca: str | Path | None = None,
        cert: str | Path | None = None,
        key: str | Path | None = None,
        timeout: float = 15.0,
        patience: float = 300.0,
        identity: str | None = None,
        privacy: LocalPrivacy | Literal["task"] | None = "task",
        group_secret: str | None = None,
        on_news: Callable[[News], None] | None = None,
    ) -> None:
        """Prepare; nothing is sent before the block begins.

        Raises:
            SettingsError: `url` is no address, there is no such dialect, or `token`, `ca`, `cert` or `key`
                cannot be used.
        """
        if dialect not in HABITS:
            raise SettingsError(f"dialect must be one of {', '.join(HABITS)}, not {dialect}")
        self._place = Place(
            Address.parse(url, token, ca, cert, key), TaskID(task), Deadlines(answer=timeout), patience
        )
        self._standing = Standing(HABITS[dialect])
        if identity or dialect == "v2":
            self._standing.identity = ParticipantID(identity or str(uuid.uuid4()))
        self._attendance = Attendance(self._place, self._standing, on_news)
        self._on_news = on_news
        self._group_secret = group_secret
        self._privacy = privacy
        self._document: dict[str, Any] = {}
        self._stack = AsyncExitStack()
        self._told = False  # whether the caller knows of the training's end

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

    @property
    def ended(self) -> str:
        """Why the training has ended, in the server's words; empty while it goes on. `weights` is its last model."""
        return self._standing.ended

    async def __aenter__(self) -> Participant:
        """Join the task and get its current model.

        Raises:
            ConnectionLost: no server answers.
            Refused: the server has no such task, or refuses; in its own words. `NotRecognised` and `NotAllowed` tell a
                token that is not valid from one that is not enough.
            SettingsError: the task asks for local privacy, or for masks, that cannot be applied.
        """
        self._document = await fetch_task(self._place.address, self._place.task, self._place.deadlines.answer)
        self._attendance = attendance_for(
            self._document, self._place, self._standing, self._on_news, self._group_secret
        )
        if self._privacy == "task":
            self._privacy = asked_by(self._document, self._standing.habits.dialect.NAME)
        async with AsyncExitStack() as stack:
            nursery = await stack.enter_async_context(background())
            await nursery.start(self._attendance.run)
            self._stack = stack.pop_all()
        self._standing.learn(self._document)
        self._told = bool(self.ended)
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
        log says so. Nor is one that finds the training ended: what is returned is its last model, and `ended` says why.
        Waiting has no end of its own (a round waits for more participants); use `trio.move_on_after`.

        Args:
            weights: arrays of the model's shapes, in its order; anything numpy can read.
            samples: how many examples they were trained on (v4); any number, numpy's too.
            metrics: figures of one's own by name, such as ``{"accuracy": 0.93}`` (v4); likewise.

        Returns:
            A copy of the global model: float32 arrays.

        Raises:
            TrainingEnded: it had ended when the call before this one returned, or when the block began.
            Refused: the server does not take it, for the reason it gives; another one can be exchanged.
            LimitExceeded: the local privacy budget is spent.
            ConnectionLost: the server has been gone for `patience` seconds; in v3, at once when the connection is lost
                while a contribution is on its way.
            trio.BusyResourceError: another exchange is going on.
        """
        if not self._standing.habits.form.verdicts:
            await self._ask_whether_ended()
        if self._standing.outstanding is not None:
            raise trio.BusyResourceError("another exchange of this participant is going on")
        if self.ended and self._told:
            raise TrainingEnded(f"the training has ended: {self.ended}")
        if self.ended:  # since the caller last looked
            self._told = True
            return self.weights
        update = await self._protected(Weights.from_arrays(weights))
        made = await self._write(update, samples, metrics)
        self._standing.put_out(made)
        self._attendance.ring()
        try:
            outcome = await self._wait_for(made)
        finally:
            self._standing.withdraw()
        if isinstance(outcome, DiscoError):
            raise outcome
        self._told = bool(self.ended)
        if not made.accepted and self._standing.habits.form.verdicts:
            reason = made.discarded or "it closed while the connection was gone"
            log.info("%s adopted round %s instead: %s", self._attendance.name(made.round), self.round, reason)
        return _copied(outcome)

    async def _wait_for(self, made: Outstanding) -> Weights | DiscoError:
        """Wait for what becomes of a contribution.

        Raises:
            ConnectionLost: there will be none.
        """
        ask_at = trio.current_time() + ASK_SECONDS
        while made.outcome is None:
            if self._attendance.failure is not None:
                raise self._attendance.failure
            if self._standing.habits.form.verdicts:
                await self._attendance.changed()
                continue
            with trio.move_on_at(ask_at) as patience:
                await self._attendance.changed()
            if patience.cancelled_caught:
                await self._ask_whether_ended()
                ask_at = trio.current_time() + ASK_SECONDS
        return made.outcome

    async def _ask_whether_ended(self) -> None:
        """Learn from the task's JSON what this dialect has no word for. Without an answer nothing is known."""
        place = self._place
        try:
            self._standing.learn(await fetch_task(place.address, place.task, place.deadlines.answer))
        except (ConnectionLost, Refused) as error:
            log.debug("%s cannot ask for the task's state: %s", self._attendance.name(self.round), error)

    async def _protected(self, update: Weights) -> Weights:
        """Apply local privacy, against the model that the server compares with.

        Raises:
            Refused: it cannot count.
            LimitExceeded: the budget is spent.
        """
        privacy, current = self._privacy, self._standing.weights
        if privacy is None or privacy == "task":
            return update
        try:
            if update.parameters * 4 > THREAD_BYTES:
                return await trio.to_thread.run_sync(privacy.protect, update, current)
            return privacy.protect(update, current)
        except InvalidUpdate as error:
            raise Refused(str(error)) from error

    async def _write(
        self, update: Weights, samples: float | None, metrics: Mapping[str, float] | None
    ) -> Outstanding:
        """Make a contribution to the current round.

        Raises:
            Refused: it cannot count, and this dialect has no word for the server to say so, or it could not see that.
        """
        if not self._standing.habits.form.verdicts:
            try:
                update.require_structure(self._standing.weights.shapes)
                update.require_finite()
            except InvalidUpdate as error:
                raise Refused(str(error)) from error
        me = self._standing.me
        count = None if samples is None else float(samples)
        figures = None if metrics is None else {name: float(value) for name, value in metrics.items()}
        event = Contributed(me, self.round, update, uuid.uuid4().hex, count, figures)
        if update.parameters * 4 > THREAD_BYTES:
            return await trio.to_thread.run_sync(self._attendance.outstanding, event)
        return self._attendance.outstanding(event)


def _copied(weights: Weights) -> list[Float32s]:
    """Return arrays that their receiver may change."""
    return [np.array(array) for array in weights.arrays()]
