"""Nothing is lost or counts twice, over joins, leaves, retries, lost acknowledgements, full disks and crashes."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from disco.core.federated import RoundRules
from tests.simulation.world import INDICES, Client, World

CLIENTS = 4
somebody = st.integers(0, CLIENTS - 1)


class History(RuleBasedStateMachine):
    """Whatever may happen, in every order."""

    @initialize(
        minimum=st.integers(1, 3),
        buffered=st.booleans(),
        staleness=st.integers(0, 3),
    )
    def begin(self, minimum: int, buffered: bool, staleness: int) -> None:
        buffer = max(minimum, 2) if buffered else None
        rules = RoundRules(
            minimum, interval=30.0, retry=5.0, buffer=buffer, max_staleness=staleness if buffered else 0
        )
        self.world = World(rules, CLIENTS)

    def client(self, number: int) -> Client:
        return self.world.clients[number]

    @rule(who=somebody, eager=st.booleans())
    def connect(self, who: int, eager: bool) -> None:
        if self.client(who).line is None:
            self.world.connect(self.client(who))
            if eager:
                self.world.say(self.client(who))

    @rule(who=somebody, heard=st.booleans())
    def lose(self, who: int, heard: bool) -> None:
        self.world.lose(self.client(who), heard=heard)

    @rule(who=somebody)
    def contribute(self, who: int) -> None:
        client = self.client(who)
        if client.standing.outstanding is None and len(self.world.made) < INDICES:
            self.world.contribute(client)

    @rule(who=somebody)
    def repeat(self, who: int) -> None:
        self.world.say(self.client(who))

    @rule(eager=st.booleans())
    def train(self, eager: bool) -> None:
        """A good stretch: everybody comes, hears, contributes, and some of it arrives."""
        for number in range(CLIENTS):
            self.connect(number, eager)
        self.world.flow()
        for number in range(CLIENTS):
            self.contribute(number)

    @rule()
    def lose_acknowledgements(self) -> None:
        """A round is on disk, the server dies before anybody hears of it, and everybody sends again at once."""
        self.train(eager=False)
        self.world.crash_when = "after"
        self.world.flow()
        for number in range(CLIENTS):
            self.connect(number, eager=True)
        self.world.flow()

    @rule()
    def flow(self) -> None:
        self.world.flow()

    @precondition(lambda self: self.world.lines)
    @rule(which=st.integers(0, 7), count=st.integers(1, 3))
    def arrive(self, which: int, count: int) -> None:
        line = self.world.lines[which % len(self.world.lines)]
        for _ in range(count):
            if line in self.world.lines:
                self.world.deliver_up(line)

    @rule(who=somebody, count=st.integers(1, 3))
    def hear(self, who: int, count: int) -> None:
        client = self.client(who)
        for _ in range(count):
            if client.line is not None and client.line.down:
                self.world.deliver_down(client)

    @rule(seconds=st.sampled_from([1.0, 5.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(full=st.booleans())
    def fill(self, full: bool) -> None:
        self.world.disk_full = full

    @rule()
    def crash(self) -> None:
        self.world.crash()

    @rule(when=st.sampled_from(["before", "after"]))
    def crash_at_the_next_round(self, when: str) -> None:
        self.world.crash_when = when

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.settle()
        for made in world.made:
            kept = made.index in world.counted or made.index in world.promised
            assert kept or not made.accepted or made.crashed_with, "accepted, and lost without a crash"
        assert len(world.promised) < world.rules.minimum, "enough have contributed, and the round stays open"
        # Of two that a client made for one round the first counts, and it waits for that round with the second.
        awaited = {world.made[index].event.participant for index in world.promised}
        for client in world.clients:
            assert client.made is None or client.name in awaited, "somebody waits for nothing"


History.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestHistory: Any = History.TestCase


def test_who_waits_with_a_second_contribution_gets_the_round_that_its_first_is_in() -> None:
    history = History()
    history.begin(minimum=3, buffered=True, staleness=1)
    history.lose_acknowledgements()
    late = history.client(3)
    history.contribute(3)
    history.flow()
    assert late.made is not None
    for other in (0, 1):
        history.contribute(other)
    history.flow()
    assert late.standing.round == 2
    assert history.client(3).made is None
    history.teardown()
