"""How fast whole models go through ``disco serve``: contributions received and summed, models sent.

*Received*: one participant after the other contributes, each as soon as the one before has handed over its bytes, until
the last one's verdict is there. Each has sent as much before, too early to count. The round stays open, so that nothing
is sent or stored. *Sent*: each reader says hello again, which is answered with the current model, and again when it has
it whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from benchmarks.load.participant import Participant, at_once, post_task, together, update_frame
from benchmarks.measuring import Row
from benchmarks.plan import Plan, start, take_turns
from benchmarks.processes import Server, disco, hypercorn, node

GROUP = "updates"
REPEATS = 7
#: Participants that a round would take: more than there ever are.
NEVER = 10_000
MB = 1e6


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of load: how many parameters of 4 bytes, how often, over how many connections, and the goals."""

    parameters: int
    count: int
    connections: int
    node: float

    @property
    def megabytes(self) -> float:
        """Of one model."""
        return 4 * self.parameters / MB


IN_TURN = (Work(1_000_000, 80, 1, 2.5), Work(10_000_000, 8, 1, 2.5))
AT_ONCE = (Work(10_000_000, 1, 8, 3.0),)
SENT = (Work(1_000_000, 50, 1, 1.0), Work(10_000_000, 8, 1, 1.0), Work(1_000_000, 4, 32, 1.0))


class Received:
    """Contributions to one server, to a round that never closes."""

    def __init__(self, server: Server, work: Work) -> None:
        """Add the task."""
        self._server, self._work = server, work
        self._task = f"up_{work.parameters}_{work.connections}"
        self._message = update_frame(work.parameters, 0)
        self._early = update_frame(work.parameters, 1)
        if server.name != "node":
            post_task(server.port, self._task, NEVER, work.parameters)

    def once(self, count: int) -> float:
        """Let new participants contribute, in turn or all at once; returns MB/s until the last one's verdict."""
        number = max(count, self._work.connections)
        people = [Participant(self._server.port, self._task, NEVER, verdicts=True) for _ in range(number)]
        for person in people:  # opens TCP's window, which begins small, by what does not count
            person.send(self._early)
            person.wait_for(b"ReceiveServerPayload")
        seconds = self._in_turn(people) if self._work.connections == 1 else self._at_once(people)
        for person in people:
            person.close()
        return number * self._work.megabytes / seconds

    def _in_turn(self, people: list[Participant]) -> float:
        begun = time.perf_counter()
        for person in people:
            person.send(self._message)
        for person in people:
            person.expect_accepted()
        return time.perf_counter() - begun

    def _at_once(self, people: list[Participant]) -> float:
        def contribute(person: Participant) -> None:
            person.send(self._message)
            person.expect_accepted()

        return at_once(people, contribute)


class Sent:
    """Models from one server, of a task that has had one round."""

    def __init__(self, server: Server, work: Work) -> None:
        """Add the task and run its first round."""
        self._work = work
        task = f"down_{work.parameters}_{work.connections}"
        if server.name != "node":
            post_task(server.port, task, 1, work.parameters)
        first = Participant(server.port, task, 1)
        together([first], update_frame(work.parameters, 0))
        first.close()
        self._people = [Participant(server.port, task, 1) for _ in range(work.connections)]

    def once(self, count: int) -> float:
        """Let every reader fetch the model so many times; returns MB/s over all."""

        def fetch(person: Participant) -> None:
            for _ in range(count):
                person.send(person.hello)
                person.wait_for(b"NewFederatedNodeInfo")

        seconds = at_once(self._people, fetch)
        return len(self._people) * count * self._work.megabytes / seconds

    def close(self) -> None:
        """Let everybody leave."""
        for person in self._people:
            person.close()


def measure(plan: Plan) -> Iterator[Row]:
    """Measure both directions on every server."""
    with ExitStack() as stack:
        servers = start(stack, {"disco": disco, "hypercorn": hypercorn, "node": node}).servers
        for work in (*IN_TURN, *AT_ONCE):
            how = "one sender at a time" if work.connections == 1 else f"{work.connections} senders at once"
            yield received(plan, servers, work, f"{work.megabytes:g} MB contributions received, {how}")
        for work in SENT:
            readers = "one reader" if work.connections == 1 else f"{work.connections} readers at once"
            yield sent(plan, servers, work, f"{work.megabytes:g} MB model sent, {readers}")


def received(plan: Plan, servers: dict[str, Server], work: Work, name: str) -> Row:
    """Measure contributions."""
    loads = {server: Received(where, work) for server, where in servers.items()}
    count = plan.amount(work.count)
    turns = {name: partial(load.once, count) for name, load in loads.items()}
    samples = take_turns(turns, plan.repeats(REPEATS), warm=True)
    return Row(GROUP, name, "MB/s", samples, goals={"node": work.node})


def sent(plan: Plan, servers: dict[str, Server], work: Work, name: str) -> Row:
    """Measure models."""
    loads = {server: Sent(where, work) for server, where in servers.items()}
    count = plan.amount(work.count)
    turns = {name: partial(load.once, count) for name, load in loads.items()}
    samples = take_turns(turns, plan.repeats(REPEATS), warm=True)
    for load in loads.values():
        load.close()
    return Row(GROUP, name, "MB/s", samples, goals={"node": work.node})
