"""Decentralized sessions of npm's clients, of Python peers, and of both: every peer ends with the same mean."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import trio

pytest.importorskip("aiortc")

from disco.core.weights import Float32s
from disco.participant.peer import Peer
from disco.participant.secure import SecureAggregation

pytestmark = pytest.mark.interop

SHAPES = ((2, 3), (3,), ())
TINY = Path(__file__).parent.parent / "tasks" / "tiny"
TASK = "tiny"
#: Shares of up to 100 are rounded to float32; clear text is exact.
TOLERANCE = {"clear": 1e-6, "sec_agg": 2e-4}

Result = list[Float32s]
Results = dict[tuple[int, int], Result]


class Session(NamedTuple):
    """A server with a task of a given round size, and how to join it."""

    url: str
    mode: str
    kit: Path
    environment: dict[str, str]
    results: Results

    async def python(self, who: int, rounds: Sequence[int]) -> None:
        """Contribute as a Python peer, then leave."""
        secure = SecureAggregation() if self.mode == "sec_agg" else None
        async with Peer(self.url, TASK, dialect="v2", secure=secure) as peer:
            for step in rounds:
                self.results[who, step] = await peer.exchange(pattern(who, step))

    async def npm(self, who: int, rounds: Sequence[int]) -> None:
        """Contribute as npm's client, in a process of its own, then leave."""
        arguments = [
            self.url,
            TASK,
            str(who),
            str(len(rounds)),
            f"--first={rounds[0]}",
            f"--mode={self.mode}",
        ]
        for line in await run_node(self.kit, self.environment, "mixed_peer.js", *arguments):
            if "result" in line:
                self.results[who, line["round"]] = [
                    np.asarray(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
                    for tensor in line["result"]
                ]

    def check(self, step: int, group: Sequence[int]) -> None:
        """Require that each of the group has the group's mean of this round."""
        wanted = [
            np.mean(np.stack(tensors), axis=0, dtype=np.float64)
            for tensors in zip(*(pattern(who, step) for who in group), strict=True)
        ]
        for who in group:
            for tensor, expected in zip(self.results[who, step], wanted, strict=True):
                np.testing.assert_allclose(tensor, expected, rtol=0, atol=TOLERANCE[self.mode])


def pattern(who: int, step: int) -> Result:
    """The kit's own weights: eighths of both signs, which float32 holds exactly."""
    tensors = []
    for place, shape in enumerate(SHAPES):
        index = np.arange(math.prod(shape))
        values = ((who + 1) * ((index + 3 * place + step) % 17) - 8 * who) / 8 + step
        tensors.append(np.asarray(values, dtype=np.float32).reshape(shape))
    return tensors


async def run_node(
    kit: Path, environment: dict[str, str], script: str, *arguments: str
) -> list[dict[str, Any]]:
    """Run a script of the kit; the lines of JSON that it printed."""
    command = ["node", str(kit / script), *arguments]
    done = await trio.run_process(
        command, env=environment, capture_stdout=True, capture_stderr=True, check=False
    )
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    troubles = [line for line in lines if line.get("ok") is False or "fatal" in line]
    assert done.returncode == 0, (troubles, done.stderr[-1000:])
    return lines


@pytest.fixture
def session(start: Any, tmp_path: Path, interop_kit: Path, node_environment: dict[str, str]) -> Any:
    """Open a session whose rounds are of exactly `size` peers."""

    @asynccontextmanager
    async def opening(size: int, mode: str) -> AsyncIterator[Session]:
        folder = tmp_path / "tasks" / TASK
        folder.mkdir(parents=True)
        for file in TINY.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        task = (TINY / "task.toml").read_text("utf-8")
        wishes = f"minNbOfParticipants = {size}\nminimumReadyPeers = {size}"
        (folder / "task.toml").write_text(task.replace("minNbOfParticipants = 2", wishes), "utf-8")
        async with start(tasks_dir=tmp_path / "tasks") as server:
            with trio.fail_after(100):
                yield Session(server.url, mode, interop_kit, node_environment, {})

    return opening


@pytest.mark.parametrize("mode", ["clear", "sec_agg"])
@pytest.mark.parametrize("size", [3, 5])
async def test_npm_clients_agree(
    start: Any, interop_kit: Path, node_environment: dict[str, str], size: int, mode: str
) -> None:
    async with start() as server:
        arguments = [server.url, f"npm_{size}", str(size), "2", "--push", f"--mode={mode}"]
        with trio.fail_after(100):
            lines = await run_node(interop_kit, node_environment, "decentralized.js", *arguments)
    assert lines[-1]["result"] == "ok"


@pytest.mark.parametrize("mode", ["clear", "sec_agg"])
@pytest.mark.parametrize("size", [3, 5])
async def test_python_peers_agree(session: Any, size: int, mode: str) -> None:
    async with session(size, mode) as opened, trio.open_nursery() as nursery:
        for who in range(size):
            nursery.start_soon(opened.python, who, (0, 1))
    for step in (0, 1):
        opened.check(step, range(size))


@pytest.mark.parametrize("mode", ["clear", "sec_agg"])
@pytest.mark.parametrize(("python", "npm"), [(2, 1), (1, 2), (3, 2)])
async def test_npm_clients_and_python_peers_agree(session: Any, python: int, npm: int, mode: str) -> None:
    size = python + npm
    async with session(size, mode) as opened, trio.open_nursery() as nursery:
        for who in range(size):
            nursery.start_soon(opened.python if who < python else opened.npm, who, (0, 1))
    for step in (0, 1):
        opened.check(step, range(size))


@pytest.mark.parametrize("mode", ["clear", "sec_agg"])
@pytest.mark.parametrize("leaver", ["python", "npm"])
async def test_the_others_go_on_when_a_peer_leaves_between_rounds(
    session: Any, leaver: str, mode: str
) -> None:
    async with session(3, mode) as opened, trio.open_nursery() as nursery:

        async def leave_and_be_replaced() -> None:
            await getattr(opened, leaver)(2, (0,))
            await opened.python(3, (1,))

        nursery.start_soon(opened.python, 0, (0, 1))
        nursery.start_soon(opened.npm, 1, (0, 1))
        nursery.start_soon(leave_and_be_replaced)
    opened.check(0, (0, 1, 2))
    opened.check(1, (0, 1, 3))
