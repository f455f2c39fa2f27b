"""Runs sessions: the only owner of a task's state in one scheme.

    connection ──submit──▶ inbox ──▶ session.handle ──▶ effects ──▶ outboxes
                                          ▲                └──▶ Training (fold, aggregate, persist)
                                          └── answering events ──┘

Connections wait until their message has been handled before they read the next one, so what waits in the inbox
is at most one message a connection, and a busy round slows its senders instead of filling memory.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

import trio

from disco.core.events import (
    Contributed,
    Disconnect,
    Effect,
    Event,
    GlobalModel,
    Joined,
    Left,
    ParticipantID,
    PeerWelcome,
    Record,
    Send,
    TaskID,
    Ticked,
    Welcome,
)
from disco.errors import DiscoError, ProtocolViolation, Unavailable
from disco.metrics import Metrics
from disco.runtime.journal import LOG_LEVELS, Journal
from disco.runtime.lane import Lane
from disco.runtime.letters import Errand, Letter, Performer, Session
from disco.runtime.lines import Line, encode
from disco.runtime.outbox import Outbox
from disco.runtime.tracing import NoTracer, Tracer
from disco.wire import masked
from disco.wire.dialect import Dialect, Encoded, Form, length

log = logging.getLogger("disco.runtime")

#: Seconds that whoever asks for an errand waits for the owner, who may be summing large models.
ERRAND_SECONDS = 60.0


SessionT = TypeVar("SessionT", bound=Session)


class Coordinator(Generic[SessionT]):
    """The owner of a task's sessions in one scheme: one for all dialects, or one for each.

    `run` is the owner task. Everything else is synchronous or waits for it.
    """

    def __init__(
        self,
        task: TaskID,
        open_session: Callable[[str], SessionT],
        performer: Performer | None,
        metrics: Metrics,
        group_of: Callable[[Dialect], str],
    ) -> None:
        """Make one that is not running.

        Args:
            task: whose sessions these are.
            open_session: makes the session of a group when its first participant comes.
            performer: performs the effects that are not about connections; None where there are none.
            metrics: counts outcomes.
            group_of: which group a dialect's participants are in. Groups never hear of each other.
        """
        self.task = task
        self._open_session = open_session
        self._performer = performer
        self.metrics = metrics
        self._group_of = group_of
        self.lane = Lane()
        self.journal = Journal()
        self.tracer: Tracer = NoTracer()
        self.masked = False
        self.outboxes: set[Outbox] = set()  # of every connection, also before it has said who it is
        self._lines: dict[ParticipantID, list[Line]] = {}
        self.sessions: dict[str, SessionT] = {}
        self._inbox_in, self._inbox_out = trio.open_memory_channel[Letter | Errand](math.inf)

    @property
    def connections(self) -> int:
        """How many connections there are, whether they have said hello or not."""
        return sum(len(lines) for lines in self._lines.values())

    @property
    def waiting_messages(self) -> int:
        """How many messages wait for slow readers, over all connections."""
        return sum(line.outbox.depth for lines in self._lines.values() for line in lines)

    # ── for connections ──────────────────────────────────────────────────────────────────────────────────

    def require(self, dialect: Dialect) -> None:
        """Check that those who speak a dialect can take part: masked contributions and plain ones do not mix.

        Raises:
            ProtocolViolation: they cannot.
        """
        if self.masked and dialect.NAME != masked.NAME:
            raise ProtocolViolation(
                "this task takes masked contributions only, from Disco's Python participants"
            )
        if dialect.NAME == masked.NAME and not self.masked:
            raise ProtocolViolation("nothing is masked in this task: take part in it without masks")

    def attach(self, line: Line) -> None:
        """Let a connection be answered."""
        self._lines.setdefault(line.participant, []).append(line)

    def detach(self, line: Line) -> None:
        """Forget a connection; its participant has left when it was the last that had joined. Never waits."""
        lines = self._lines.get(line.participant, [])
        if line not in lines:
            return
        lines.remove(line)
        if not lines:
            del self._lines[line.participant]
        if line.joined and not any(other.joined for other in lines):
            letter = Letter(Left(line.participant), self._group_of(line.dialect), None)
            self._inbox_in.send_nowait(letter)

    def rename(self, line: Line, participant: ParticipantID) -> None:
        """Give a connection that has not joined the identity that its client had before."""
        lines = self._lines[line.participant]
        lines.remove(line)
        if not lines:
            del self._lines[line.participant]
        line.participant = participant
        self.attach(line)

    async def submit(self, event: Event, line: Line) -> None:
        """Hand in what a connection received, and wait until it has been handled.

        What was handed in is handled even if the caller is cancelled meanwhile.
        """
        letter = Letter(event, self._group_of(line.dialect), line)
        if not isinstance(event, Contributed):
            self._inbox_in.send_nowait(letter)
            await letter.handled.wait()
            return
        about: dict[str, str | int] = {
            "task": self.task, "participant": event.participant[:8], "round": event.round,
            "dialect": line.dialect.NAME,
        }  # fmt: skip
        with self.tracer.span("disco.contribution", about) as letter.span:
            self._inbox_in.send_nowait(letter)
            await letter.handled.wait()

    async def run_errand(self, work: Callable[[], Awaitable[Event | None]], group: str) -> None:
        """Have the owner do `work` between two events, and hand the session of `group` the event it returns, if any.

        Raises:
            DiscoError: `work` raised it; the session heard of nothing.
            Unavailable: the owner did not come to it in time, or has stopped.
        """
        errand = Errand(work, group)
        self._inbox_in.send_nowait(errand)
        with trio.move_on_after(ERRAND_SECONDS) as patience:
            await errand.handled.wait()
        if patience.cancelled_caught:
            raise Unavailable(f"the task {self.task!r} did not come to it in {ERRAND_SECONDS:g} s")
        if errand.refusal is not None:
            raise errand.refusal

    def close_all(self, code: int, reason: str) -> None:
        """Close every connection, after what waits for it has been sent."""
        for outbox in self.outboxes:
            outbox.close(code, reason)

    # ── the owner task ───────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Handle events and deadlines until cancelled. What a session raises ends it."""
        while True:
            for group, session in self.sessions.items():
                if session.deadline <= trio.current_time():
                    await self._handle(Ticked(), group)
            deadline = min((session.deadline for session in self.sessions.values()), default=math.inf)
            letter = await self._next(deadline)
            if isinstance(letter, Errand):
                await self._run(letter)
            elif letter is not None:
                await self._open(letter)
            del letter  # it may hold a whole update, which is not to outlive its handling

    async def _next(self, deadline: float) -> Letter | Errand | None:
        """Wait for what comes next; None at the deadline, if there is one: a scope costs as much as the wait."""
        if deadline == math.inf:
            return await self._inbox_out.receive()
        with trio.move_on_at(deadline):
            return await self._inbox_out.receive()
        return None

    async def _open(self, letter: Letter) -> None:
        if letter.line is not None and isinstance(letter.event, Joined):
            letter.line.joined = True
        if isinstance(letter.event, Left) and self._is_back(letter.event.participant):
            letter.handled.set()
            return
        try:
            if letter.span is None:
                await self._handle(letter.event, letter.group)
            else:
                with self.tracer.span("disco.handle", {}, letter.span):
                    await self._handle(letter.event, letter.group)
        finally:
            letter.handled.set()

    def _is_back(self, participant: ParticipantID) -> bool:
        """Tell whether somebody joined again on another connection before its old one was gone."""
        return any(line.joined for line in self._lines.get(participant, ()))

    async def _run(self, errand: Errand) -> None:
        try:
            if (event := await errand.work()) is not None:
                await self._handle(event, errand.group)
        except DiscoError as error:
            errand.refusal = error
        finally:
            errand.handled.set()

    async def _handle(self, event: Event, group: str) -> None:
        session = self.sessions.get(group)
        if session is None:
            session = self.sessions[group] = self._open_session(group)
        events = deque([event])
        while events:
            for effect in session.handle(events.popleft(), trio.current_time()):
                answer = await self._perform(effect)
                if answer is not None:
                    events.append(answer)
        self.journal.changed()

    async def _perform(self, effect: Effect) -> Event | None:
        match effect:
            case Send():
                await self._send(effect)
            case Record():
                self._record(effect)
            case Disconnect():
                for line in self._lines.get(effect.participant, ()):
                    line.outbox.close(effect.code, effect.reason)
            case _ if self._performer is not None:
                return await self._performer.perform(effect)
            case _:
                raise NotImplementedError(f"{type(effect).__name__} in a session without a performer")
        return None

    async def _send(self, effect: Send) -> None:
        with self.tracer.span("disco.send", {"message": type(effect.message).__name__}):
            await self._encode_and_queue(effect)

    async def _encode_and_queue(self, effect: Send) -> None:
        """Encode once for each dialect and form, and queue for every connection concerned."""
        encoded: dict[tuple[str, Form], tuple[Encoded | None, int]] = {}
        sent: Counter[str] = Counter()
        replaceable = isinstance(effect.message, GlobalModel)
        for line in self._receivers(effect):
            key = (line.dialect.NAME, line.form)
            if key not in encoded:
                data = await encode(line.dialect, effect.message, self.task, line.form)
                encoded[key] = (data, 0 if data is None else length(data))
            data, size = encoded[key]
            if data is not None:
                line.outbox.put(data, replaceable=replaceable)
                sent[line.dialect.NAME] += size
        for dialect, total in sent.items():
            self.metrics.count("sent_bytes", total, task=self.task, dialect=dialect)

    def _receivers(self, effect: Send) -> Iterable[Line]:
        welcome = isinstance(effect.message, Welcome | PeerWelcome)
        for participant in effect.to:
            # A copy: encoding waits, and connections come and go meanwhile.
            for line in tuple(self._lines.get(participant, ())):
                if line.joined or welcome or not line.dialect.PUSHES:
                    yield line

    def _record(self, record: Record) -> None:
        self.metrics.count("contributions", task=self.task, outcome=record.outcome)
        self.journal.record(record)
        said = (
            self.task,
            record.participant[:8],
            record.outcome,
            f": {record.reason}" if record.reason else "",
        )
        log.log(LOG_LEVELS[record.outcome], "task=%s participant=%s %s%s", *said)
