"""What people who watch a task are shown: its latest refusals, its rounds' figures, and that something changed."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import trio

from disco.core.effects import Record
from disco.core.messages import Outcome
from disco.storage.contract import RoundRecord

#: Refusals kept of one task, and characters kept of one reason, part of which a stranger wrote.
REFUSALS, REASON_LENGTH = 100, 300
#: Rounds whose figures are remembered for charts, whether their weights are still on disk or not.
ROUNDS = 1000

#: Late and repeated contributions are everyday with clients that do not wait; rejected ones are somebody's fault.
LOG_LEVELS = {
    Outcome.ACCEPTED: logging.DEBUG,
    Outcome.DISCARDED: logging.INFO,
    Outcome.REJECTED: logging.WARNING,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A contribution or signal that did not count.

    Args:
        at: Unix seconds.
        participant: the first 8 characters of its ID.
    """

    at: float
    participant: str
    outcome: Outcome
    reason: str


class Bell:
    """Wakes everybody who waits for a change. Ringing is cheap and never waits."""

    def __init__(self) -> None:
        """Make one that has not rung."""
        self.rung = 0
        self.closed = False
        self._event = trio.Event()
        self._waiting = 0  # for that event, at most; who was cancelled meanwhile is counted too

    def ring(self) -> None:
        """Wake everybody who waits."""
        self.rung += 1
        if self._waiting:
            self._waiting = 0
            self._event.set()
            self._event = trio.Event()

    def close(self) -> None:
        """Wake everybody for the last time: nothing changes any more."""
        self.closed = True
        self.ring()

    async def changed(self, since: int) -> int:
        """Wait until it has rung more often than `since`, and return how often it has."""
        while self.rung <= since and not self.closed:
            self._waiting += 1
            await self._event.wait()
        return self.rung


class Journal:
    """One task's, bounded, and kept in memory only: it outlives a coordinator that crashes, but not the server."""

    def __init__(self, bell: Bell | None = None, clock: Callable[[], float] = time.time) -> None:
        """Make an empty one. `bell` is rung for every change of any task; `clock` gives Unix seconds."""
        self.refusals: deque[Refusal] = deque(maxlen=REFUSALS)
        self.rounds: deque[RoundRecord] = deque(maxlen=ROUNDS)
        self.bell = Bell()
        self._all = bell or Bell()
        self._clock = clock

    def changed(self) -> None:
        """Tell that something about the task is not what it was."""
        self.bell.ring()
        self._all.ring()

    def record(self, record: Record) -> None:
        """Keep what was refused, and why."""
        if record.outcome is not Outcome.ACCEPTED:
            reason = record.reason[:REASON_LENGTH]
            self.refusals.append(Refusal(self._clock(), record.participant[:8], record.outcome, reason))

    def begin(self, rounds: Iterable[RoundRecord]) -> None:
        """Start from the rounds on disk, unless rounds newer than those are known, after a crash."""
        kept = {record.number: record for record in (*self.rounds, *rounds)}
        self.rounds.clear()
        self.rounds.extend(kept[number] for number in sorted(kept))

    def closed(self, record: RoundRecord) -> None:
        """Remember a closed round's figures."""
        self.rounds.append(record)

    def amend(self, number: int, figures: Mapping[str, float]) -> None:
        """Add figures to a round that closed before."""
        for index, record in enumerate(self.rounds):
            if record.number == number:
                self.rounds[index] = replace(record, figures={**record.figures, **figures})
        self.changed()

    def reset(self) -> None:
        """Forget the rounds but 0: the training starts anew."""
        first = [record for record in self.rounds if record.number == 0]
        self.rounds.clear()
        self.rounds.extend(first)
