"""Kills a server that is training, again and again, and looks at what it left behind."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import trio

from disco.core.model import Model
from disco.core.names import TaskID
from disco.storage.reader import SqliteReader, open_reader
from tests.crash.crowd import Crowd, Told, fingerprint

ROOT = Path(__file__).parents[2]
KEEP_LAST, KEEP_EVERY = 5, 50
#: Seconds that a start may take, and anything else on a busy machine.
PATIENCE = 60.0
#: Seconds to wait for a file that is being written.
WRITING_SECONDS = 1.0

#: Task → its shapes, and who takes part. The wide one takes some milliseconds to write.
TINY, WIDE = ((2, 3), (3,), (3, 1), (1,)), ((400, 500), (500,))
TASKS = {"tiny": (TINY, "2244p"), "wide": (WIDE, "44p")}


@dataclass(slots=True)
class Report:
    """What was done and seen."""

    kills: int = 0
    rounds_told: int = 0
    rounds_on_disk: dict[str, int] = field(default_factory=dict)
    compared: int = 0
    left_behind: int = 0
    most_bytes: int = 0
    seconds: float = 0.0

    @property
    def means_something(self) -> bool:
        """Whether there was something to lose: kills, training in every task, and rounds that were compared."""
        return self.kills >= 2 and self.compared > 0 and all(self.rounds_on_disk.get(task) for task in TASKS)

    def __str__(self) -> str:
        disk = ", ".join(f"{task} {number}" for task, number in self.rounds_on_disk.items())
        return (
            f"{self.kills} kills in {self.seconds:.0f} s; participants were told of {self.rounds_told} rounds; "
            f"{self.compared} comparisons of rounds bit for bit; last rounds: {disk}; "
            f"{self.left_behind} half-written files were left behind and none was served; "
            f"at most {self.most_bytes / 1e6:.1f} MB on disk"
        )


def make_tasks(folder: Path) -> None:
    """Copy the tests' tiny task, and make a wider one beside it."""
    shutil.copytree(ROOT / "tests" / "tasks" / "tiny", folder / "tiny")
    document = (folder / "tiny" / "task.toml").read_text().replace("tiny", "wide").replace("Tiny", "Wide")
    (folder / "wide").mkdir()
    (folder / "wide" / "task.toml").write_text(document)
    layer = {"name": "d", "units": WIDE[0][1], "batch_input_shape": [None, WIDE[0][0]]}
    layers = [{"class_name": "Dense", "config": layer}]
    specs = [
        {"name": f"d/{name}", "shape": list(shape), "dtype": "float32"}
        for name, shape in zip(("kernel", "bias"), WIDE, strict=True)
    ]
    flat = np.zeros(sum(int(np.prod(shape)) for shape in WIDE), "<f4")
    model = Model.from_tfjs(
        {
            "format": "layers-model",
            "modelTopology": {"class_name": "Sequential", "config": {"name": "s", "layers": layers}},
            "weightsManifest": [{"paths": ["weights.bin"], "weights": specs}],
        },
        flat.tobytes(),
    )
    (folder / "wide" / "model.json").write_text(json.dumps(model.tfjs_json()))
    (folder / "wide" / "weights.bin").write_bytes(model.weights_bin())


class Victim:
    """A server's process, always on the same port and data directory."""

    def __init__(self, place: Path) -> None:
        make_tasks(place / "tasks")
        self.data_dir = place / "data"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._environment = {
            **os.environ,
            "DISCO_TASKS_DIR": str(place / "tasks"),
            "DISCO_DATA_DIR": str(self.data_dir),
            "DISCO_STORAGE_KEEP_LAST": str(KEEP_LAST),
            "DISCO_STORAGE_KEEP_EVERY": str(KEEP_EVERY),
            "DISCO_AGGREGATION_INTERVAL": "0.3",
        }

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[str]]:
        """Run it until the end of the block, where it is killed."""
        command = [sys.executable, "-m", "disco", "serve", "--port", str(self._port), "--log-level", "error"]
        with subprocess.Popen(
            command, cwd=ROOT, env=self._environment, text=True, stdout=subprocess.PIPE
        ) as process:
            try:
                assert process.stdout is not None
                if not any(re.match(r"address\s", line) for line in process.stdout):
                    raise RuntimeError(f"the server did not start: exit code {process.wait()}")
                yield process
            finally:
                process.kill()

    def kill_while_writing(self, process: subprocess.Popen[str]) -> None:
        """Kill it the moment a file that is being written is seen; a while later if none is."""
        until = time.monotonic() + WRITING_SECONDS
        folders = [path for path in (self.data_dir / "tasks").rglob("rounds") if path.is_dir()]
        while time.monotonic() < until:
            if any(name.endswith(".tmp") for folder in folders for name in os.listdir(folder)):
                break
        process.kill()


class Inspection:
    """Looks at a data directory between two lives of its server."""

    def __init__(self, victim: Victim, told: Told, report: Report) -> None:
        self._victim, self._told, self._report = victim, told, report

    def before_start(self) -> None:
        """Count what a kill left half-written."""
        self._report.left_behind += len(list(self._victim.data_dir.rglob("*.tmp")))

    def after_start(self) -> None:
        """Compare everything that anybody was told of with what is on disk and with what is served.

        Raises:
            AssertionError: a round is gone, or another, or files are there that no round needs.
        """
        files = [path for path in self._victim.data_dir.rglob("*") if path.is_file()]
        assert not [path for path in files if path.suffix == ".tmp"], "a half-written file survived a start"
        self._report.most_bytes = max(
            self._report.most_bytes, sum(path.stat().st_size for path in files if path.exists())
        )
        with closing(open_reader(self._victim.data_dir)) as reader:
            for task in TASKS:
                self._compare(task, reader)
            tasks = self._victim.data_dir / "tasks"
            found = {path for path in tasks.rglob("*") if path.is_file()}
            named = {path for stored in reader.tasks() for path in reader.files(stored.task.id)}
            assert found == named, f"files without a row, or rows without a file: {found ^ named}"

    def _compare(self, task: str, reader: SqliteReader) -> None:
        latest = reader.latest_round(TaskID(task)).number
        told, before = self._told.latest(task), self._report.rounds_on_disk.get(task, 0)
        assert latest >= told, f"{task}: round {told} was told and is gone; the newest is {latest}"
        assert latest >= before, f"{task}: rounds shrank from {before} to {latest}"
        self._report.rounds_on_disk[task] = latest
        kept = {record.number for record in reader.rounds(TaskID(task))}
        wanted = {n for n in range(latest + 1) if n % KEEP_EVERY == 0 or n > latest - KEEP_LAST}
        assert kept == wanted, f"{task}: rounds {sorted(kept ^ wanted)}"
        for number, bits in self._told.rounds.get(task, {}).items():
            if number in kept:
                found = reader.round_weights(TaskID(task), number)
                assert fingerprint([found.flat]) == bits, f"{task}: round {number} is not what was told"
                self._report.compared += 1
        with urllib.request.urlopen(
            f"{self._victim.url}/tasks/{task}/weights.bin", timeout=PATIENCE
        ) as answer:
            served, number = answer.read(), int(answer.headers["X-Disco-Round"])
        assert number == latest
        assert served == reader.round_weights(TaskID(task), number).flat.astype("<f4").tobytes()


async def kill_for(seconds: float, place: Path, seed: int) -> Report:
    """Train, kill at random moments, start again and look, for so many seconds; longer on a machine that is slower.

    Raises:
        AssertionError: something that anybody was told of is not as it was.
    """
    victim, told, report = Victim(place), Told(), Report()
    inspection, chance = Inspection(victim, told, report), random.Random(seed)
    began = time.monotonic()
    crowd = Crowd(victim.url, told, seed)
    async with trio.open_nursery() as nursery:
        for task, (shapes, kinds) in TASKS.items():
            nursery.start_soon(crowd.run, task, shapes, kinds)
        while time.monotonic() - began < (seconds if report.means_something else seconds + PATIENCE):
            inspection.before_start()
            with victim.started() as process:
                inspection.after_start()
                await trio.sleep(chance.expovariate(2.0) + 0.05)
                if chance.random() < 0.5:
                    await trio.to_thread.run_sync(victim.kill_while_writing, process)
            report.kills += 1
        nursery.cancel_scope.cancel()
    with victim.started():
        inspection.after_start()
    report.rounds_told = sum(map(len, told.rounds.values()))
    report.seconds = time.monotonic() - began
    return report
