"""How much memory a round of 40 MB models takes over what the server has when idle.

Every number comes from a server that was started for it. Participants contribute one after the other; the peak is the
kernel's (VmHWM). Disco's bound is its setting: six models and what `limits.bytes_in_flight` allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from benchmarks.measuring import Row
from benchmarks.plan import Plan, say
from benchmarks.processes import PeerMissing, Server, disco, forget_peak, memory, node
from benchmarks.rounds import FlowerRounds, Rounds

GROUP = "memory"
PARAMETERS = 10_000_000
MODEL_MEGABYTES = 40
IN_FLIGHT_MEGABYTES = 200
LIMIT_MEGABYTES = 6 * MODEL_MEGABYTES + IN_FLIGHT_MEGABYTES
PARTICIPANTS = (8, 32, 128)
ROUNDS = 2
#: With how many participants a peer is still measured, and why not with more.
MOST_FOR_NODE = 32, "left out, as its rounds take a minute"
MOST_FOR_FLOWER = 8, "left out, as it holds every update: 7 GB at 32 participants"


def measure(plan: Plan) -> Iterator[Row]:
    """Measure every number of participants."""
    settings = {"DISCO_LIMITS_BYTES_IN_FLIGHT": str(IN_FLIGHT_MEGABYTES * 1_000_000)}
    for participants in PARTICIPANTS[:1] if plan.quick else PARTICIPANTS:
        samples: dict[str, list[float]] = {}
        notes: dict[str, str] = {}
        with ExitStack() as stack:
            samples["disco"] = [of(stack.enter_context(disco(**settings)), participants)]
        for peer, (most, reason), run in (
            ("node", MOST_FOR_NODE, of_node),
            ("flower", MOST_FOR_FLOWER, of_flower),
        ):
            if participants > most:
                notes[peer] = reason
                continue
            try:
                samples[peer] = [run(participants)]
            except PeerMissing as error:
                notes[peer] = str(error)
                say(f"{peer} is left out: {error}")
        work = f"peak over idle, {participants} × 10M parameters, staggered"
        yield Row(GROUP, work, "MB", samples, limit=LIMIT_MEGABYTES, notes=notes)


def of(server: Server, participants: int) -> float:
    """Return the megabytes over idle at the peak of a few rounds."""
    rounds = Rounds(server, participants, PARAMETERS, post=server.name != "node")
    taken = over_idle(server.process, partial(rounds.one, staggered=True))
    rounds.close()
    return taken


def of_node(participants: int) -> float:
    """Return the Node server's."""
    with node() as server:
        return of(server, participants)


def of_flower(participants: int) -> float:
    """Return that of Flower's server, whose clients send all at once."""
    with ExitStack() as stack:
        rounds = FlowerRounds(stack, participants, PARAMETERS)
        return over_idle(rounds.server.pid, rounds.one)


def over_idle(process: int | None, one_round: Callable[[], float]) -> float:
    """Run a few rounds; returns how much the process's peak was over what it had before, in megabytes."""
    forget_peak(process)
    idle = memory(process, "VmRSS")
    for _ in range(ROUNDS):
        one_round()
    peak = memory(process, "VmHWM")
    if idle is None or peak is None:
        raise PeerMissing("its memory cannot be read")
    return peak - idle
