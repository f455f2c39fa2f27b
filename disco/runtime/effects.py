"""What a session wants done: messages sent, outcomes recorded, and the rest passed on to whoever performs it."""

from __future__ import annotations

import logging

from disco.core.effects import Disconnect, Effect, Record, Send
from disco.core.events import Event
from disco.core.messages import Outcome
from disco.core.names import TaskID
from disco.metrics import Counter, Metrics
from disco.runtime.journal import LOG_LEVELS, Journal
from disco.runtime.letters import LATER, Later, Performer
from disco.runtime.lines import Lines
from disco.runtime.tracing import NoTracer, Tracer

log = logging.getLogger("disco.runtime")


class Effects:
    """Performs the effects of one task's sessions in one scheme, at once where nothing has to be awaited.

    Args:
        task: whose sessions these are.
        lines: who is connected.
        performer: performs the effects that are not about connections; None where there are none.
        metrics: counts outcomes.
    """

    def __init__(self, task: TaskID, lines: Lines, performer: Performer | None, metrics: Metrics) -> None:
        self._task = task
        self._lines = lines
        self._performer = performer
        self._metrics = metrics
        self._outcomes: dict[Outcome, Counter] = {}  # of contributions
        self.journal = Journal()
        self.tracer: Tracer = NoTracer()

    @property
    def traced(self) -> bool:
        """Whether spans are opened."""
        return not isinstance(self.tracer, NoTracer)

    def perform_now(self, effect: Effect) -> Event | Later | None:
        """Perform an effect and return the event that answers it; do nothing if it has to be awaited."""
        match effect:
            case Send():  # its span is opened where sending is awaited
                return None if not self.traced and self._lines.send_now(effect) else LATER
            case Record():
                self._record(effect)
            case Disconnect():
                for line in self._lines.of(effect.participant):
                    line.outbox.close(effect.code, effect.reason)
            case _ if self._performer is not None:
                return self._performer.perform_now(effect)
            case _:
                raise NotImplementedError(f"{type(effect).__name__} in a session without a performer")
        return None

    async def perform(self, effect: Effect) -> Event | None:
        """Perform an effect that has to be awaited, and return the event that answers it."""
        if isinstance(effect, Send):
            with self.tracer.span("disco.send", {"message": type(effect.message).__name__}):
                await self._lines.send(effect)
            return None
        assert self._performer is not None
        return await self._performer.perform(effect)

    async def settle(self) -> None:
        """Do what nobody waits for, and tell those who watch."""
        self.journal.changed()
        if self._performer is not None:
            await self._performer.settle()

    def _record(self, record: Record) -> None:
        counter = self._outcomes.get(record.outcome)
        if counter is None:
            counter = self._metrics.counter("contributions", task=self._task, outcome=record.outcome)
            self._outcomes[record.outcome] = counter
        counter.add()
        self.journal.record(record)
        level = LOG_LEVELS[record.outcome]
        if log.isEnabledFor(level):
            said = (record.participant[:8], record.outcome, f": {record.reason}" if record.reason else "")
            log.log(level, "task=%s participant=%s %s%s", self._task, *said)
