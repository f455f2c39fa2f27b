"""A task's connections as its coordinator sees them, and what is sent on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import trio

from disco.core.effects import Send
from disco.core.messages import GlobalModel, Message, PeerWelcome, Welcome
from disco.core.names import ParticipantID, TaskID
from disco.metrics import Counter, Metrics
from disco.runtime.outbox import Outbox
from disco.wire.dialect import Dialect, Encoded, Form, WeightsForm, length

#: Weights above this many parameters are encoded in a worker thread; below, switching costs more than it saves.
THREAD_PARAMETERS = 50_000

#: What carries a model, and what answers a hello.
MODELS = (GlobalModel, Welcome)
WELCOMES = (Welcome, PeerWelcome)

#: What clients with the same dialect and the same habits are sent is the same.
Kind: TypeAlias = tuple[str, Form]


@dataclass(slots=True, eq=False)
class Line:
    """One connection as its coordinator sees it.

    Args:
        participant: whose it is. Several lines may be one participant's, when a client comes back before its old
            connection is gone.
        form: the client's habits, updated by what it sends.
        joined: whether it has said hello. A dialect whose clients are pushed to hears nothing before that.
    """

    participant: ParticipantID
    dialect: Dialect
    form: Form
    outbox: Outbox
    joined: bool = False


class Lines:
    """The connections to one task in one scheme.

    Args:
        task: whose they are.
        metrics: counts what is sent.
    """

    def __init__(self, task: TaskID, metrics: Metrics) -> None:
        self._task = task
        self._metrics = metrics
        self._lines: dict[ParticipantID, list[Line]] = {}
        self._counters: dict[str, Counter] = {}  # of bytes sent, by dialect
        self._latest: GlobalModel | None = None
        self._encoded: dict[Kind, Encoded | None] = {}  # what `_latest` is

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __iter__(self) -> Iterator[Line]:
        for lines in self._lines.values():
            yield from lines

    def of(self, participant: ParticipantID) -> tuple[Line, ...]:
        """Return the connections of one participant."""
        return tuple(self._lines.get(participant, ()))

    def has_joined(self, participant: ParticipantID) -> bool:
        """Tell whether a participant has said hello on a connection that is there."""
        return any(line.joined for line in self._lines.get(participant, ()))

    def add(self, line: Line) -> None:
        """Let a connection be answered."""
        self._lines.setdefault(line.participant, []).append(line)

    def remove(self, line: Line) -> bool:
        """Forget a connection; tell whether it was there."""
        lines = self._lines.get(line.participant, [])
        if line not in lines:
            return False
        lines.remove(line)
        if not lines:
            del self._lines[line.participant]
        return True

    def send_now(self, effect: Send) -> bool:
        """Encode a message once for each kind of client, and queue it; do nothing and say so if that takes long."""
        message, lines = effect.message, self._receivers(effect)
        if isinstance(message, MODELS) and any(_takes_long(message, line) for line in lines):
            return False
        self._queue(message, lines, {})
        return True

    async def send(self, effect: Send) -> None:
        """Do the same, in a worker thread where it takes long."""
        encoded: dict[Kind, Encoded | None] = {}
        while missing := self._missing(effect, encoded):
            for line in missing:
                encode = line.dialect.encode
                encoded[_kind(line)] = await trio.to_thread.run_sync(
                    encode, effect.message, self._task, line.form
                )
        self._queue(effect.message, self._receivers(effect), encoded)

    def _missing(self, effect: Send, encoded: dict[Kind, Encoded | None]) -> list[Line]:
        """Return one connection of each kind for which a message takes long to encode, and is not encoded yet."""
        found = {_kind(line): line for line in self._receivers(effect) if _takes_long(effect.message, line)}
        return [line for kind, line in found.items() if kind not in encoded]

    def _receivers(self, effect: Send) -> list[Line]:
        welcome = isinstance(effect.message, WELCOMES)
        return [
            line
            for participant in effect.to
            for line in self._lines.get(participant, ())
            if line.joined or welcome or not line.dialect.PUSHES
        ]

    def _queue(self, message: Message, lines: list[Line], encoded: dict[Kind, Encoded | None]) -> None:
        replaceable = isinstance(message, GlobalModel)
        if isinstance(message, GlobalModel) and message.weights.parameters <= THREAD_PARAMETERS:
            encoded = self._encodings_of(message)
        for line in lines:
            kind = _kind(line)
            if kind not in encoded:
                encoded[kind] = line.dialect.encode(message, self._task, line.form)
            data = encoded[kind]
            if data is not None:
                line.outbox.put(data, replaceable=replaceable)
                self._sent(line.dialect.NAME).add(length(data))

    def _sent(self, dialect: str) -> Counter:
        if dialect not in self._counters:
            self._counters[dialect] = self._metrics.counter("sent_bytes", task=self._task, dialect=dialect)
        return self._counters[dialect]

    def _encodings_of(self, model: GlobalModel) -> dict[Kind, Encoded | None]:
        """Return what a small model has been encoded to before: whoever is late is sent it once more."""
        known = self._latest
        if (
            known is None
            or known.weights is not model.weights
            or known.participants != model.participants
            or known.pushed != model.pushed
            or known.round != model.round
        ):
            self._latest, self._encoded = model, {}
        return self._encoded


def _kind(line: Line) -> Kind:
    return (line.dialect.NAME, line.form)


def _takes_long(message: Message, line: Line) -> bool:
    """Tell whether a message carries a large model that has to be converted for a client."""
    return (
        isinstance(message, MODELS)
        and line.form.weights is not WeightsForm.PACKED
        and message.weights.parameters > THREAD_PARAMETERS
    )
