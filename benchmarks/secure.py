"""What masking costs: a participant in a round, and the server when a third of the members drops out.

    python -m benchmarks.secure                                     the parts, in process
    python -m benchmarks.secure --members 100 --repeat 5
    python -m benchmarks.secure --sockets --members 32              whole rounds, beside plain ones

The parts are told in milliseconds of one core. Whole rounds are of a real server with its store and real participants,
all in this process: from the moment when everybody has a contribution until the last one has the new model.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgpack
import numpy as np
import trio

from disco.cli.hosting import running
from disco.core.masking.keys import transcript
from disco.core.masking.member import Footing, Member
from disco.core.masking.quantization import Grid
from disco.core.masking.terms import Terms
from disco.core.masking.total import MaskedTotal
from disco.core.masking.words import Roster, SharesRelayed, Survivors, Unmask
from disco.core.model import Model
from disco.core.names import ParticipantID, TaskID
from disco.core.submission import Submission
from disco.core.task import Task
from disco.core.weights import Weights
from disco.participant import Participant
from disco.settings import Settings

TASK, TERMS = TaskID("benchmark"), Terms(range=4.0, dropouts=1 / 3, phase_seconds=60.0)
T = TypeVar("T")


@dataclass
class Costs:
    """Milliseconds, and the largest error of the mean."""

    share: float
    mask: float
    fold: float
    unmask: float
    error: float


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """Return a result, and the milliseconds of one core that it took."""
    started = time.process_time()
    result = call()
    return result, 1000 * (time.process_time() - started)


def measure(members: int, parameters: int) -> Costs:
    """Go through one round in which every third member drops out after it has shared its secrets."""
    chance = np.random.default_rng(0)
    names = [ParticipantID(f"{number:04}") for number in range(members)]
    footing = Footing(TASK, TERMS, 3)
    everybody = {name: Member(name, 0, footing) for name in names}
    base = Weights.from_flat(chance.normal(size=parameters).astype(np.float32), [(parameters,)])
    update = Weights.from_flat(
        (base.flat + chance.uniform(-1, 1, parameters)).astype(np.float32), base.shapes
    )
    roster = Roster(0, 1, {name: member.keys for name, member in everybody.items()})
    shared = {name: timed(partial(member.share, roster)) for name, member in everybody.items()}

    survivors = tuple(name for place, name in enumerate(names) if place % 3 or place >= members // 3 * 3)
    total, masks, folds = MaskedTotal(parameters), [], []
    for name in survivors:
        relayed = SharesRelayed(
            1, {other: sent.shares[name] for other, (sent, _) in shared.items() if other != name}
        )
        made, spent = timed(partial(everybody[name].mask, relayed, update, base))
        masks.append(spent)
        folds.append(timed(partial(total.add, made.masked))[1])
    plan = plan_of(roster, base, everybody, survivors)
    moved, unmask = timed(partial(total.unmask, plan))
    return Costs(
        share=statistics.median(spent for _, spent in shared.values()),
        mask=statistics.median(masks),
        fold=statistics.median(folds),
        unmask=unmask,
        error=float(np.abs(moved.flat.astype(np.float64) - update.flat).max()),
    )


def plan_of(
    roster: Roster,
    base: Weights,
    everybody: dict[ParticipantID, Member],
    survivors: tuple[ParticipantID, ...],
) -> Unmask:
    """Let as many survivors reveal their shares as it takes."""
    threshold = TERMS.threshold(len(everybody))
    said = {name: everybody[name].reveal(Survivors(1, survivors)) for name in survivors[:threshold]}
    dropped = [name for name in everybody if name not in survivors]
    return Unmask(
        base,
        TERMS.range,
        threshold,
        transcript(TASK, 0, 1, roster.members),
        roster.members,
        survivors,
        {owner: {holder: answer.seeds[owner] for holder, answer in said.items()} for owner in survivors},
        {owner: {holder: answer.mask_keys[owner] for holder, answer in said.items()} for owner in dropped},
    )


def submission(name: str, participants: int, parameters: int) -> Submission:
    """Make a task whose model is one tensor; ``secure`` or ``mean`` by its name."""
    artifacts = {
        "modelTopology": {"class_name": "Sequential", "config": {"name": name, "layers": []}},
        "weightSpecs": [{"name": "weights", "shape": [parameters], "dtype": "float32"}],
        "weightData": msgpack.ExtType(0x1A, bytes(4 * parameters)),
    }
    document = {
        "id": name,
        "dataType": "tabular",
        "displayInformation": {"title": name, "summary": {"preview": name, "overview": name}},
        "trainingInformation": {
            "scheme": "federated", "aggregationStrategy": name, "tensorBackend": "tfjs", "epochs": 1,
            "batchSize": 1, "roundDuration": 1, "validationSplit": 0, "minNbOfParticipants": participants,
            "inputColumns": ["x"], "outputColumn": "y",
        },
    }  # fmt: skip
    return Submission(Task.from_document(document), Model.from_msgpack(msgpack.packb([0, artifacts])))


async def whole_rounds(participants: int, parameters: int, repeat: int) -> dict[str, float]:
    """Return the median milliseconds of a round, masked and plain."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tasks").mkdir()
        settings = Settings(port=0, data_dir=Path(folder) / "data", tasks_dir=Path(folder) / "tasks")
        async with running(settings) as (app, url):
            for name in ("mean", "secure"):
                await app.directory.add(submission(name, participants, parameters), "benchmark")
                async with AsyncExitStack() as stack:
                    people = [
                        await stack.enter_async_context(Participant(url, name)) for _ in range(participants)
                    ]
                    found[name] = statistics.median([await one_round(people) for _ in range(repeat)])
    return found


async def one_round(people: list[Participant]) -> float:
    """Let everybody contribute at once; returns milliseconds."""
    updates = [[tensor + 0.01 for tensor in each.weights] for each in people]
    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for each, update in zip(people, updates, strict=True):
            nursery.start_soon(each.exchange, update)
    return 1000 * (time.perf_counter() - started)


def print_whole_rounds(options: argparse.Namespace) -> None:
    """Print a table of whole rounds."""
    print("| participants | parameters | plain, ms | masked, ms |")
    print("| --- | --- | --- | --- |")
    for members in options.members:
        for parameters in options.parameters:
            found = trio.run(whole_rounds, members, parameters, options.repeat)
            print(f"| {members} | {parameters:,} | {found['mean']:.0f} | {found['secure']:.0f} |")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, nargs="+", default=[8, 32, 100])
    parser.add_argument("--parameters", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--repeat", type=int, default=3, help="rounds of each kind; shown are medians")
    parser.add_argument("--sockets", action="store_true", help="whole rounds instead of their parts")
    options = parser.parse_args()
    if options.sockets:
        print_whole_rounds(options)
        return
    print(
        "| members | parameters | share, ms | mask, ms | fold, ms | unmask, ms | half a step | largest error |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for members in options.members:
        for parameters in options.parameters:
            found = [measure(members, parameters) for _ in range(options.repeat)]
            costs = [
                statistics.median(getattr(each, name) for each in found)
                for name in ("share", "mask", "fold", "unmask")
            ]
            told = " | ".join(f"{cost:.1f}" for cost in costs)
            half = Grid(TERMS.range, members).step / 2
            print(f"| {members} | {parameters:,} | {told} | {half:.0e} | {found[0].error:.0e} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak of this process, which plays everybody: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
