"""How long a federated round takes.

    python -m benchmarks --only rounds                    Disco beside its peers
    python -m benchmarks.rounds --url http://host:8080    any server of the DISCO protocol (v4) that takes POST /tasks

A round is timed from the first byte that the first participant sends to the last byte that the last one receives. All
servers run at once and have their rounds in turn.

Flower's server is measured twice (`benchmarks/peers/flower`). *Flower* is with its own clients, which parse their
instructions and serialize their answers within the round. *Flower, bare* is the server alone: prebuilt messages are
sent to it and what it sends is dropped, as the participants of the other servers do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from benchmarks.load.participant import Participant, post_task, together, update_frame
from benchmarks.measuring import SERVERS, Row
from benchmarks.plan import Plan, say, start, take_turns
from benchmarks.processes import (
    FLOWER_VERSION,
    PEERS,
    PeerMissing,
    Server,
    disco,
    disco_in_memory,
    free_port,
    hypercorn,
    node,
    process,
    said,
    tools,
    wait_for_port,
)

GROUP = "rounds"
#: Participants × parameters.
CELLS = tuple((k, p) for p in (10_000, 1_000_000, 10_000_000) for k in (2, 8, 32))
#: Where Disco is to be at least twice as fast as Node.
TWICE = frozenset({(32, 1_000_000), (32, 10_000_000)})
#: Rounds that Flower is told to have; more than are measured.
FLOWER_ROUNDS = 1_000
FLOWER_GOAL = 5.0
#: Who takes part at Flower's servers.
FLOWERS = {"flower": "clients.py", "flower_bare": "bare.py"}
#: Participants times parameters.
MOST_FOR_FLOWER = 100_000_000
#: What one parameter of one participant takes where both of Flower's servers run at once: 10 GB at 8 × 10M.
BYTES_FOR_BOTH = 120


class Rounds:
    """One server's session of one cell."""

    def __init__(self, server: Server, participants: int, parameters: int, *, post: bool = True) -> None:
        """Add a task, and let everybody join."""
        task = f"bench_{participants}_{parameters}_{time.time_ns()}"
        if post:
            post_task(server.port, task, participants, parameters)
        self._people = [Participant(server.port, task, participants) for _ in range(participants)]
        self._parameters = parameters
        self._round = 0

    def one(self, *, staggered: bool = False) -> float:
        """Run the next round; returns its seconds."""
        message = update_frame(self._parameters, self._round)
        self._round += 1
        return together(self._people, message, staggered=staggered)

    def close(self) -> None:
        """Let everybody leave."""
        for person in self._people:
            person.close()


class FlowerRounds:
    """Flower's server and who takes part, for one cell. Both programs end with the stack."""

    def __init__(
        self, stack: ExitStack, participants: int, parameters: int, clients: str = FLOWERS["flower"]
    ) -> None:
        """Start both, and wait until everybody has the first model.

        Raises:
            PeerMissing: Flower cannot be had.
        """
        python = str(tools("flwr", FLOWER_VERSION) / "python")
        folder, port = PEERS / "flower", free_port()
        cell = [str(port), str(participants), str(parameters)]
        quiet = {"FLWR_TELEMETRY_ENABLED": "0", "GRPC_VERBOSITY": "NONE"}
        server = [python, "server.py", *cell, str(FLOWER_ROUNDS)]
        self.server = stack.enter_context(process(server, folder, quiet))
        wait_for_port(port)
        self._clients = stack.enter_context(process([python, clients, *cell], folder, quiet))
        said(self._clients, "(ready)")

    def one(self) -> float:
        """Run the next round; returns its seconds."""
        assert self._clients.stdin is not None
        self._clients.stdin.write("\n")
        self._clients.stdin.flush()
        return float(said(self._clients, r"([\d.e-]+)"))


@contextmanager
def sessions(
    servers: dict[str, Server], participants: int, parameters: int
) -> Iterator[tuple[dict[str, Rounds | FlowerRounds], dict[str, str]]]:
    """Open one cell's session on every server and on Flower's; also tells why one of Flower's cannot be had."""
    found: dict[str, Rounds | FlowerRounds] = {}
    notes: dict[str, str] = {}
    with ExitStack() as stack:
        for name, server in servers.items():
            rounds = Rounds(server, participants, parameters, post=name != "node")
            stack.callback(rounds.close)
            found[name] = rounds
        for name, clients in FLOWERS.items():
            try:
                must_fit(name, participants * parameters)
                found[name] = FlowerRounds(stack, participants, parameters, clients)
            except PeerMissing as error:
                notes[name] = str(error)
                say(f"{SERVERS[name]} is left out: {error}")
        yield found, notes


def must_fit(flower: str, values: int) -> None:
    """See that one of Flower's servers fits into memory beside the rest, with so many values in a round.

    Raises:
        PeerMissing: it does not.
    """
    if values > MOST_FOR_FLOWER:
        raise PeerMissing("its server alone takes 7 GB there")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if flower != "flower" and values * BYTES_FOR_BOTH > memory:
        raise PeerMissing(f"both of Flower's servers take {values * BYTES_FOR_BOTH / 1e9:.0f} GB there")


def rounds_for(plan: Plan, participants: int, parameters: int) -> int:
    """Return how many rounds make a steady median in bearable time."""
    return max(3, min(50, plan.amount(int(1e8 / (parameters * participants)))))


def measure(plan: Plan) -> Iterator[Row]:
    """Measure every cell on every server."""
    with ExitStack() as stack:
        starters = {"disco": disco, "memory": disco_in_memory, "hypercorn": hypercorn, "node": node}
        field = start(stack, starters)
        for participants, parameters in CELLS:
            if plan.quick and participants * parameters > 1e8:
                continue
            yield cell(plan, field.servers, participants, parameters)


def cell(plan: Plan, servers: dict[str, Server], participants: int, parameters: int) -> Row:
    """Measure one cell; the first round of each server warms it up."""
    count = rounds_for(plan, participants, parameters)
    with sessions(servers, participants, parameters) as (found, notes):
        seconds = take_turns({name: each.one for name, each in found.items()}, count, warm=True)
    return Row(
        GROUP,
        f"{participants} × {size(parameters)} parameters",
        "ms",
        {name: [1e3 * each for each in taken] for name, taken in seconds.items()},
        goals={"node": 2.0 if (participants, parameters) in TWICE else 1.0, "flower": FLOWER_GOAL},
        notes=notes,
    )


def size(parameters: int) -> str:
    """Write a number of parameters briefly."""
    return f"{parameters // 1_000_000}M" if parameters >= 1_000_000 else f"{parameters // 1_000}k"


def main() -> None:
    """Measure one server that runs already."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rounds", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--participants", type=int, nargs="*", default=[2, 8, 32])
    parser.add_argument("--parameters", type=int, nargs="*", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--url", required=True, help="a server on this machine that runs already")
    parser.add_argument("--staggered", action="store_true", help="participants send one after the other")
    options = parser.parse_args()
    server = Server("given", int(options.url.rstrip("/").rpartition(":")[2]), None)
    for parameters in options.parameters:
        for participants in options.participants:
            rounds = Rounds(server, participants, parameters)
            turn = partial(rounds.one, staggered=options.staggered)
            turn()
            seconds = [turn() for _ in range(rounds_for(Plan(), participants, parameters))]
            rounds.close()
            median, best = statistics.median(seconds) * 1e3, min(seconds) * 1e3
            sys.stdout.write(
                f"{participants:>4} × {size(parameters):>4}: median {median:9.1f} ms, best {best:9.1f} ms\n"
            )


if __name__ == "__main__":
    main()
