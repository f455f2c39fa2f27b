"""Runs sessions: the only owner of a task's state in one scheme.

    connection ──submit──▶ inbox ──▶ session.handle ──▶ effects ──▶ outboxes
                                          ▲                └──▶ Training (fold, aggregate, persist)
                                          └── answering events ──┘

Connections wait until their message has been handled before they read the next one, so what waits in the inbox
is at most one message a connection, and a busy round slows its senders instead of filling memory.

While the owner is at rest, with nothing in its inbox, whoever hands something in handles it at once, as far as nothing
has to be awaited: two task switches and a letter cost more than most messages. What has to be awaited (large sums,
aggregation, the disk) is left to the owner, so that it is done whatever becomes of the connection.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from disco.core.events import Contributed, Event, Joined, Left, Ticked
from disco.core.names import ParticipantID, TaskID
from disco.errors import DiscoError, ProtocolViolation, Unavailable
from disco.metrics import Metrics
from disco.runtime.effects import Effects
from disco.runtime.journal import Journal
from disco.runtime.lane import Lane
from disco.runtime.letters import LATER, Course, Errand, Letter, Performer, Session
from disco.runtime.lines import Line, Lines
from disco.runtime.outbox import Outbox
from disco.runtime.tracing import Tracer
from disco.runtime.turn import Turn
from disco.wire import masked
from disco.wire.dialect import Dialect

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
        self.metrics = metrics
        self._group_of = group_of
        self.lane = Lane()
        self.masked = False
        self.outboxes: set[Outbox] = set()  # of every connection, also before it has said who it is
        self.lines = Lines(task, metrics)
        self.effects = Effects(task, self.lines, performer, metrics)
        self.sessions: dict[str, SessionT] = {}
        self._inbox_in, self._inbox_out = trio.open_memory_channel[Letter | Errand](math.inf)
        self.turn = Turn()
        self._posted = 0  # what is in the inbox, or on its way from there to the owner
        self._rest = trio.CancelScope()  # around the owner's wait for what comes next
        self._resting = False

    @property
    def connections(self) -> int:
        """How many connections there are, whether they have said hello or not."""
        return len(self.lines)

    @property
    def waiting_messages(self) -> int:
        """How many messages wait for slow readers, over all connections."""
        return sum(line.outbox.depth for line in self.lines)

    def report_to(self, journal: Journal, tracer: Tracer, turn: Turn) -> None:
        """Keep what people who watch are shown in `journal`, open spans of `tracer`, and answer in turns of `turn`."""
        self.effects.journal, self.effects.tracer, self.turn = journal, tracer, turn

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
        self.lines.add(line)

    def detach(self, line: Line) -> None:
        """Forget a connection; its participant has left when it was the last that had joined. Never waits."""
        if self.lines.remove(line) and line.joined and not self.lines.has_joined(line.participant):
            departure = Letter(Left(line.participant), self._group_of(line.dialect), None)
            self._hand_in(departure, trio.current_time())

    def rename(self, line: Line, participant: ParticipantID) -> None:
        """Give a connection that has not joined the identity that its client had before."""
        self.lines.remove(line)
        line.participant = participant
        self.lines.add(line)

    def submit_now(self, event: Event, line: Line, now: float) -> None:
        """Hand in what a connection received, without waiting; `now` is Trio's time.

        While the owner is `at_rest`, it has then been handled but for what has to be awaited; the owner does that, and
        is not at rest meanwhile.
        """
        self._hand_in(Letter(event, self._group_of(line.dialect), line), now)

    async def submit(self, event: Event, line: Line) -> None:
        """Hand in what a connection received, and wait until it has been handled.

        What was handed in is handled even if the caller is cancelled meanwhile.
        """
        handled = trio.Event()
        letter = Letter(event, self._group_of(line.dialect), line, handled)
        if not isinstance(event, Contributed):
            self._hand_in(letter, trio.current_time())
            await handled.wait()
            return
        about: dict[str, str | int] = {
            "task": self.task, "participant": event.participant[:8], "round": event.round,
            "dialect": line.dialect.NAME,
        }  # fmt: skip
        with self.effects.tracer.span("disco.contribution", about) as letter.span:
            self._hand_in(letter, trio.current_time())
            await handled.wait()

    async def run_errand(self, work: Callable[[], Awaitable[Event | None]], group: str) -> None:
        """Have the owner do `work` between two events, and hand the session of `group` the event it returns, if any.

        Raises:
            DiscoError: `work` raised it; the session heard of nothing.
            Unavailable: the owner did not come to it in time, or has stopped.
        """
        errand = Errand(work, group)
        self._post(errand)
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

    # ── at rest ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def at_rest(self) -> bool:
        """Whether the owner would handle at once what came now. Spans are opened in its own task only."""
        return self._resting and not self._posted and not self.effects.traced

    def _hand_in(self, letter: Letter, now: float) -> None:
        """Handle a letter at once, as far as that is possible, and leave the rest to the owner."""
        if not self.at_rest:
            self._post(letter)
            return
        try:
            letter.course = self._begin(letter)
            if self._advance(letter.course, now):
                letter.answer()
                self.effects.journal.changed()
                if (deadline := self._deadline) != self._rest.deadline:
                    self._rest.deadline = deadline
                return
        except Exception as error:
            letter.error = error
        self._post(letter)

    def _post(self, what: Letter | Errand) -> None:
        self._posted += 1
        self._inbox_in.send_nowait(what)

    # ── the owner task ───────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Handle events and deadlines until cancelled. What a session raises ends it."""
        while True:
            for group, session in self.sessions.items():
                if session.deadline <= trio.current_time():
                    await self._handle(Course(group, deque((Ticked(),))))
            letter = await self._next()
            if isinstance(letter, Errand):
                await self._run(letter)
            elif letter is not None:
                await self._open(letter)
            del letter  # it may hold a whole update, which is not to outlive its handling

    @property
    def _deadline(self) -> float:
        return min((session.deadline for session in self.sessions.values()), default=math.inf)

    async def _next(self) -> Letter | Errand | None:
        """Wait for what comes next; None when a deadline is there."""
        with trio.CancelScope(deadline=self._deadline) as self._rest:
            self._resting = True
            try:
                what = await self._inbox_out.receive()
            finally:
                self._resting = False
            self._posted -= 1
            return what
        return None

    async def _open(self, letter: Letter) -> None:
        try:
            if letter.error is not None:
                raise letter.error
            course = letter.course or self._begin(letter)
            if letter.span is None:
                await self._handle(course)
            else:
                with self.effects.tracer.span("disco.handle", {}, letter.span):
                    await self._handle(course)
        finally:
            letter.answer()

    async def _run(self, errand: Errand) -> None:
        try:
            if (event := await errand.work()) is not None:
                await self._handle(Course(errand.group, deque((event,))))
        except DiscoError as error:
            errand.refusal = error
        finally:
            errand.handled.set()

    # ── handling ─────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, letter: Letter) -> Course:
        """Begin to handle a letter; one is void that says who left if they joined again before."""
        if letter.line is not None and isinstance(letter.event, Joined):
            letter.line.joined = True
        if isinstance(letter.event, Left) and self.lines.has_joined(letter.event.participant):
            return Course(letter.group, deque())
        return Course(letter.group, deque((letter.event,)))

    async def _handle(self, course: Course) -> None:
        """Handle to the end."""
        while course.waiting is not None or not self._advance(course, trio.current_time()):
            assert course.waiting is not None
            effect, course.waiting = course.waiting, None
            answer = await self.effects.perform(effect)
            if answer is not None:
                course.events.append(answer)
        await self.effects.settle()

    def _advance(self, course: Course, now: float) -> bool:
        """Handle until an effect has to be awaited, or to the end; tell whether that is reached. One turn."""
        with self.turn:
            while True:
                for effect in course.effects:
                    answer = self.effects.perform_now(effect)
                    if answer is LATER:
                        course.waiting = effect
                        return False
                    if answer is not None:
                        course.events.append(answer)
                if not course.events:
                    return True
                session = self.sessions.get(course.group)
                if session is None:
                    session = self.sessions[course.group] = self._open_session(course.group)
                course.effects = iter(session.handle(course.events.popleft(), now))
