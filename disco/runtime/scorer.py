"""A scorer in a process of its own, seen from Trio.

    ──▶ the scorer, pickled, and what it may use            ──▶ the shapes of a model's tensors, and its weights
    ◀── ready, or why not                                   ◀── figures, or why there are none

Each message is a length (8 bytes, little-endian) and that many bytes of msgpack; weights follow theirs as they are.
What the scorer prints goes to the server's standard error. `disco.learning.scoring` is the other end.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec
import trio

from disco.core.evaluation import require_figures
from disco.core.evaluation.asking import LENGTH_BYTES, Answer, framed
from disco.core.weights import Weights
from disco.errors import InvalidFigures, ScorerFailed

Buffer: TypeAlias = bytes | memoryview

#: The program of the other end. A name and no import: this room is below that one.
PROGRAM: Final = "disco.learning.scoring"
#: Of an answer; figures are small.
MOST_BYTES: Final = 1024 * 1024
#: That a process may take to start; a scorer may import much.
START_SECONDS: Final = 60.0
_READ_BYTES: Final = 64 * 1024
_DECODER = msgspec.msgpack.Decoder(Answer)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a scorer may use.

    Args:
        seconds: for one model.
        memory_bytes: of its process, beside what the interpreter shares with others.
    """

    seconds: float
    memory_bytes: int


class ScorerProcess:
    """One running process. Use `scorer_process`; after `ScorerFailed` it is of no use any more."""

    def __init__(self, process: trio.Process, bounds: Bounds) -> None:
        self._process = process
        self._bounds = bounds
        self._rest = bytearray()

    async def start(self, scorer: bytes) -> None:
        """Hand over the scorer, and wait until it is ready.

        Raises:
            ScorerFailed: it cannot be made there.
        """
        bounds = {"memory": self._bounds.memory_bytes, "seconds": self._bounds.seconds}
        await self._ask(
            {"scorer": scorer, **bounds}, START_SECONDS, f"its process took {START_SECONDS:g} s to start"
        )

    async def evaluate(self, weights: Weights) -> Mapping[str, float]:
        """Return a model's figures.

        Raises:
            ScorerFailed: there are none, with the reason.
        """
        shapes, seconds = [list(shape) for shape in weights.shapes], self._bounds.seconds
        slow = f"its process took longer than limits.evaluation, {seconds:g} s"
        answer = await self._ask({"shapes": shapes}, seconds, slow, weights.flat.data.cast("B"))
        try:
            require_figures(answer.figures, "evaluate()")
        except InvalidFigures as error:
            raise ScorerFailed(str(error)) from error
        return answer.figures

    async def _ask(
        self, question: Mapping[str, Any], seconds: float, slow: str, content: Buffer = b""
    ) -> Answer:
        """Ask and wait for the answer; `slow` is what to say when it does not come in time.

        Raises:
            ScorerFailed: it does not come, is none, or says why there is none.
        """
        with trio.move_on_after(seconds) as patience:
            try:
                body = msgspec.msgpack.encode(question)
                await self._send(framed(body), content)
                answer = _DECODER.decode(await self._receive())
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise ScorerFailed(await self._epitaph()) from error
            except msgspec.MsgspecError as error:
                raise ScorerFailed(f"its process answered nonsense: {error}") from error
            if answer.error:
                raise ScorerFailed(answer.error)
            return answer
        assert patience.cancelled_caught
        raise ScorerFailed(f"{slow}, and was stopped")

    async def _send(self, *parts: Buffer) -> None:
        assert self._process.stdin is not None
        for part in parts:
            await self._process.stdin.send_all(part)

    async def _receive(self) -> bytes:
        size = int.from_bytes(await self._read(LENGTH_BYTES), "little")
        if size > MOST_BYTES:
            raise ScorerFailed(f"its process answered nonsense: {size} bytes")
        return await self._read(size)

    async def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        while len(self._rest) < size:
            chunk = await self._process.stdout.receive_some(_READ_BYTES)
            if not chunk:
                raise ScorerFailed(await self._epitaph())
            self._rest += chunk
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken

    async def _epitaph(self) -> str:
        """Say how the process ended; it has closed its end."""
        with trio.move_on_after(1.0):
            code = await self._process.wait()
            return (
                f"its process ended with code {code}"
                if code >= 0
                else f"its process was killed by signal {-code}"
            )
        return "its process stopped answering"


@asynccontextmanager
async def scorer_process(scorer: bytes, bounds: Bounds) -> AsyncIterator[ScorerProcess]:
    """Start a process for a pickled scorer, and kill it at the end of the block, whatever it does.

    Raises:
        ScorerFailed: the process cannot be started, or the scorer cannot be made there.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the server, which ends this
        )
    except OSError as error:
        raise ScorerFailed(f"its process cannot be started: {error}") from error
    try:
        running = ScorerProcess(process, bounds)
        await running.start(scorer)
        yield running
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    await stream.aclose()
