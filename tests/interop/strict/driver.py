"""Drives the strict clients from a test."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import trio
from numpy.typing import NDArray

MAIN = Path(__file__).parent / "main.mjs"
#: Seconds that anything in these tests may take.
PATIENCE = 20.0


def arrays(tensors: list[dict[str, Any]]) -> list[NDArray[np.float32]]:
    """Return tensors of a client as arrays; JSON carries float32 exactly."""
    return [np.asarray(tensor["data"], np.float32).reshape(tensor["shape"]) for tensor in tensors]


class Page:
    """A Node process with any number of strict clients. One that fails ends them all, and the test."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._answers: dict[int, trio.MemorySendChannel[Any]] = {}
        self._given = 0
        self._commands, self._written = trio.open_memory_channel[bytes](math.inf)

    async def ask(self, client: str, do: str, **arguments: Any) -> Any:
        """Let a client do something, and return what it answers."""
        self._given += 1
        number = self._given
        send, receive = trio.open_memory_channel[Any](1)
        self._answers[number] = send
        line = json.dumps({"id": number, "client": client, "do": do, **arguments})
        self._commands.send_nowait(line.encode() + b"\n")
        with trio.fail_after(PATIENCE):
            return await receive.receive()

    async def write(self) -> None:
        """Hand in commands until the page is closed; without standard input the process ends."""
        assert self._process.stdin is not None
        async with self._process.stdin:
            async for line in self._written:
                await self._process.stdin.send_all(line)

    def close(self) -> None:
        """Let the process end."""
        self._commands.close()

    async def read(self) -> None:
        """Hand out answers until the process ends."""
        assert self._process.stdout is not None
        buffered = b""
        async for chunk in self._process.stdout:
            *lines, buffered = (buffered + chunk).split(b"\n")
            for line in lines:
                answer = json.loads(line)
                self._answers.pop(answer["id"]).send_nowait(answer["result"])


@dataclass(frozen=True)
class Participant:
    """One strict client."""

    page: Page
    name: str

    def __getattr__(self, verb: str) -> Any:
        return partial(self.page.ask, self.name, verb)

    async def counts(self) -> list[tuple[str, int | None]]:
        """What it has been told so far: types, with the number of participants in them."""
        return [(kind, count) for kind, count in await self.page.ask(self.name, "heard")]

    async def connected(self, dialect: str, task: str = "tiny", **arguments: Any) -> Mapping[str, Any]:
        """Connect, and return what the answer to hello says."""
        answer: Mapping[str, Any] = await self.page.ask(
            self.name, "connect", dialect=dialect, task=task, **arguments
        )
        return answer


@asynccontextmanager
async def open_page(url: str, environment: Mapping[str, str]) -> AsyncIterator[Page]:
    """Run a page against a server for the length of a block."""
    async with trio.open_nursery() as nursery:
        start = partial(
            trio.run_process,
            ["node", str(MAIN), url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            check=False,
        )
        process: trio.Process = await nursery.start(start)
        page = Page(process)

        async def watch() -> None:
            assert process.stderr is not None
            said = b"".join([chunk async for chunk in process.stderr]).decode()
            assert not said, f"a strict client failed: {said}"

        nursery.start_soon(watch)
        nursery.start_soon(page.read)
        nursery.start_soon(page.write)
        yield page
        page.close()
