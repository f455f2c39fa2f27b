"""A server and its participants without clock, sockets or threads: the real session, strategy, store and client logic.

Every contribution is one-hot, at an index of its own. A closed round's model times its number of contributions is
therefore their sum: a 1 for each that counted, a 2 for one that counted twice.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from disco.core.aggregation.mean import Mean
from disco.core.aggregation.strategy import Strategy
from disco.core.effects import Aggregate, Fold, Reset, Send
from disco.core.events import (
    Aggregated,
    AggregationFailed,
    Contributed,
    FederatedEvent,
    Folded,
    Joined,
    Left,
    Ticked,
)
from disco.core.federated import FederatedSession, RoundRules
from disco.core.messages import GlobalModel, Message, Outcome, Verdict, Welcome
from disco.core.metadata import Noticeboard
from disco.core.names import ParticipantID, TaskID
from disco.core.weights import Weights
from disco.participant.standing import HABITS, Outstanding, Standing
from disco.storage.contract import Counted, RoundRecord
from disco.storage.memory import MemoryStore
from tests.storage.samples import model, task

#: Contributions that one history can tell apart.
INDICES = 256
SHAPES = ((INDICES,),)
TASK = TaskID("titanic")


class Crashed(Exception):
    """The server's process has ended at this point."""


@dataclass(eq=False)
class Line:
    """One connection: what is on its way to the server, and from it."""

    participant: ParticipantID
    up: deque[FederatedEvent] = field(default_factory=deque)
    down: deque[Message] = field(default_factory=deque)
    joined: bool = False
    open: bool = True


@dataclass(eq=False)
class Made:
    """A contribution.

    Args:
        accepted: a life of the server said that it counts.
        crashed_with: and crashed before the round was on disk. Its sender sends it again.
    """

    index: int
    event: Contributed
    accepted: bool = False
    crashed_with: bool = False


class Client:
    """A participant: the real client's logic, with hands instead of sockets."""

    def __init__(self, name: str) -> None:
        self.name = ParticipantID(name)
        self.standing = Standing(HABITS["v4"])
        self.standing.identity = self.name
        self.line: Line | None = None
        self.made: Made | None = None


class World:
    """Everything there is. Its methods are what may happen next."""

    def __init__(self, rules: RoundRules, clients: int) -> None:
        self.rules = rules
        self.now = 0.0
        self.store = MemoryStore()
        self.store.add_task(task(TASK), model(shapes=SHAPES), "folder", 0.0)
        self.clients = [Client(f"participant-{number}") for number in range(clients)]
        self.lines: list[Line] = []
        self.made: list[Made] = []
        self.counted: dict[int, int] = {}  # index → round
        self.promised: set[int] = set()  # accepted by this life of the server, in a round that is open
        self.disk_full = False
        self.crash_when: str | None = None
        self.crashes = 0
        self.newest_told = 0
        self.start()

    # ── the server ───────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin a life of the server, from what is on disk."""
        record, counted = self.store.latest_round(TASK), self.store.counted(TASK)
        weights = self.store.round_weights(TASK, record.number)
        self.session = FederatedSession(TASK, self.rules, self.store.model(TASK).weights, Noticeboard(4, 100))
        self.session.resume(record.number, weights, *self.store.totals(TASK), counted)
        self.strategy = Strategy(Mean())
        self.strategy.begin(weights, record.number)
        assert record.number >= self.newest_told, "a round that somebody was told of is gone"

    def crash(self) -> None:
        """End the server at once: only the disk is left. Every connection is cut."""
        self.crashes += 1
        for index in self.promised:
            self.made[index].crashed_with = True
        self.promised.clear()
        self.crash_when = None
        for line in self.lines:
            line.open = False
        self.lines.clear()
        for client in self.clients:
            self.lose(client, heard=False)
        self.start()

    def handle(self, event: FederatedEvent) -> None:
        """Let the server handle an event and all it leads to, or crash at it."""
        try:
            events = deque([event])
            while events:
                for effect in self.session.handle(events.popleft(), self.now):
                    match effect:
                        case Send(to, message):
                            self.send(to, message)
                        case Fold(contribution):
                            self.strategy.add(contribution)
                            events.append(Folded(contribution))
                        case Aggregate():
                            events.append(self.aggregate(effect))
                        case Reset():
                            raise NotImplementedError
        except Crashed:
            self.crash()

    def aggregate(self, effect: Aggregate) -> FederatedEvent:
        if self.crash_when == "before":
            raise Crashed
        if self.disk_full:
            return AggregationFailed("the disk is full")
        figures, weights = effect.figures, self.strategy.finish()
        record = RoundRecord(
            figures.number, self.now, figures.participants, figures.contributions, figures.seconds
        )
        self.store.save_round(TASK, record, weights, None, Counted(effect.keys, effect.since))
        self.audit(record, weights)
        if self.crash_when == "after":
            raise Crashed
        self.strategy.begin(weights, record.number)
        return Aggregated(record.number, weights)

    def audit(self, record: RoundRecord, weights: Weights) -> None:
        """Compare a round on disk with what was promised: nothing lost, nothing twice."""
        exact = weights.flat.astype(np.float64) * record.contributions
        total = np.rint(exact).astype(int)
        assert np.abs(exact - total).max() < 1e-5, "the mean is over more or fewer than it says"
        assert set(np.unique(total)) <= {0, 1}, "a contribution counted twice in one round"
        summed = {int(index) for index in np.flatnonzero(total)}
        assert len(summed) == record.contributions
        assert summed == self.promised, "what was accepted is not what was summed"
        again = summed & self.counted.keys()
        assert not again, f"{again} counted in an earlier round already"
        self.counted.update(dict.fromkeys(summed, record.number))
        self.promised.clear()

    def send(self, to: tuple[ParticipantID, ...], message: Message) -> None:
        if isinstance(message, Verdict) and message.outcome is Outcome.ACCEPTED and message.key is not None:
            index = int(message.key)
            self.made[index].accepted = True
            if index not in self.counted:
                self.promised.add(index)
        for line in self.lines:
            if line.participant in to and (line.joined or isinstance(message, Welcome)):
                line.down.append(message)

    # ── what may happen ──────────────────────────────────────────────────────────────────────────────────

    def connect(self, client: Client) -> None:
        """Open a connection and say hello; what waits is sent again after the answer, by an eager client before it."""
        client.line = Line(client.name)
        client.line.up.append(Joined(client.name, identity=client.name))
        self.lines.append(client.line)

    def lose(self, client: Client, *, heard: bool) -> None:
        """Cut a client's connection; the server notices when it gets to it, or the line was its own to forget.

        Args:
            client: whose.
            heard: whether what it sent still arrives.
        """
        line, client.line = client.line, None
        if line is None:
            return
        client.standing.lose(None)
        line.open = False
        line.down.clear()
        if not heard:
            line.up.clear()

    def contribute(self, client: Client) -> None:
        index = len(self.made)
        update = np.zeros(INDICES, dtype=np.float32)
        update[index] = 1.0
        event = Contributed(
            client.name, client.standing.round, Weights.from_flat(update, SHAPES), key=str(index)
        )
        client.made = Made(index, event)
        self.made.append(client.made)
        client.standing.put_out(Outstanding(event.round, str(index), b""))
        self.say(client)

    def say(self, client: Client) -> None:
        """Send what waits, if anything does."""
        waits = client.standing.unresolved
        if client.line is not None and waits is not None and client.made is not None:
            waits.sent = True
            client.line.up.append(client.made.event)

    def deliver_up(self, line: Line) -> None:
        """Let the server take one message of a connection, or notice that it is gone."""
        if line.up:
            event = line.up.popleft()
            line.joined |= isinstance(event, Joined)
            self.handle(event)
        elif not line.open:
            self.lines.remove(line)
            others = [other for other in self.lines if other.participant == line.participant and other.joined]
            if line.joined and not others:
                self.handle(Left(line.participant))

    def deliver_down(self, client: Client) -> None:
        """Let a client take one message."""
        assert client.line is not None
        message = client.line.down.popleft()
        if isinstance(message, Welcome | GlobalModel):
            self.newest_told = max(self.newest_told, message.round)
        if isinstance(message, Verdict) and message.key is not None:
            made = self.made[int(message.key)]
            if "already, in round" in message.reason:
                assert made.index in self.counted, "told that it counted, and it did not"
        client.standing.take(message)
        if isinstance(message, Welcome):
            self.say(client)
        waits = client.standing.outstanding
        if waits is not None and waits.outcome is not None:
            client.standing.withdraw()
            client.made = None

    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.session.deadline <= self.now:
            self.handle(Ticked())

    def settle(self) -> None:
        """Let everybody come back and everything arrive, without further trouble."""
        self.disk_full, self.crash_when = False, None
        for client in self.clients:
            if client.line is None:
                self.connect(client)
        for _ in range(10):
            self.flow()
            self.wait(self.rules.interval)

    def flow(self) -> None:
        """Let everything arrive that is on its way."""
        while True:
            up = [line for line in self.lines if line.up or not line.open]
            down = [client for client in self.clients if client.line is not None and client.line.down]
            if not up and not down:
                return
            for line in up:
                if line in self.lines:
                    self.deliver_up(line)
            for client in down:
                if client.line is not None and client.line.down:
                    self.deliver_down(client)
