"""The blocking form: plain threads, scripts that are interrupted, notebooks with a loop of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from disco.core.weights import Float32s
from disco.errors import ConnectionLost, Refused
from disco.participant import BlockingParticipant
from tests.conftest import Server

ROOT = Path(__file__).parents[2]


def train(url: str, value: float, rounds: int = 2) -> list[Float32s]:
    """What a script does."""
    with BlockingParticipant(url, "tiny") as participant:
        weights = participant.weights
        for _ in range(rounds):
            weights = participant.exchange([np.full_like(tensor, value) for tensor in weights])
        assert participant.round >= rounds
    return weights


async def in_threads(*functions: Callable[[], Any]) -> list[Any]:
    """Call each function in a thread of its own; the results in the order of the functions."""
    results: dict[int, Any] = {}

    async def run(index: int) -> None:
        results[index] = await trio.to_thread.run_sync(functions[index])

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for index in range(len(functions)):
                nursery.start_soon(run, index)
    return [results[index] for index in range(len(functions))]


async def test_two_plain_threads_get_the_mean(server: Server) -> None:
    models = await in_threads(lambda: train(server.url, 1.0), lambda: train(server.url, 4.0))
    for model in models:
        np.testing.assert_array_equal(model[0], np.full((2, 3), 2.5, dtype=np.float32))


async def test_it_works_beside_a_running_asyncio_loop(server: Server) -> None:
    def notebook() -> list[Float32s]:
        async def cell() -> list[Float32s]:
            return train(server.url, 1.0, rounds=1)

        return asyncio.run(cell())

    models = await in_threads(notebook, lambda: train(server.url, 4.0, rounds=1))
    np.testing.assert_array_equal(models[0][0], np.full((2, 3), 2.5, dtype=np.float32))


async def test_refusals_come_out_of_the_call(server: Server) -> None:
    def clumsy() -> str:
        with BlockingParticipant(server.url, "tiny") as participant, pytest.raises(Refused) as refusal:
            participant.exchange(participant.weights[:1])
        return str(refusal.value)

    (reason,) = await in_threads(clumsy)
    assert reason == "weights has 1 tensors where the model has 4"


async def test_an_unknown_task_is_refused_when_opening(server: Server) -> None:
    def script() -> None:
        with pytest.raises(Refused, match="there is no task 'nope' here"):
            BlockingParticipant(server.url, "nope").open()

    await in_threads(script)


async def test_what_the_block_raises_comes_out_as_it_is(server: Server) -> None:
    def script() -> None:
        with pytest.raises(ZeroDivisionError), BlockingParticipant(server.url, "tiny"):
            raise ZeroDivisionError

    await in_threads(script)


async def test_a_cell_opens_and_another_one_closes_and_opens_again(server: Server) -> None:
    def cells() -> None:
        participant = BlockingParticipant(server.url, "tiny").open()
        participant.close()
        participant.close()
        with pytest.raises(ConnectionLost, match="not open"):
            participant.exchange([])
        participant.open()
        assert participant.participants == 1
        participant.close()

    await in_threads(cells)


async def test_closing_from_another_thread_ends_an_exchange_that_waits(server: Server) -> None:
    def script() -> None:
        participant = BlockingParticipant(server.url, "tiny").open()
        threading.Timer(0.1, participant.close).start()
        with pytest.raises(ConnectionLost, match="closed"):
            participant.exchange(participant.weights)

    await in_threads(script)


INTERRUPTED = """
import signal, sys
from disco.participant import BlockingParticipant

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it, as shells' jobs do
with BlockingParticipant(sys.argv[1], "tiny") as participant:
    print("waiting", flush=True)
    try:
        participant.exchange(participant.weights)
    except KeyboardInterrupt:
        print("interrupted", participant.participants, flush=True)
    participant.exchange(participant.weights)
"""


@pytest.fixture
async def script(server: Server) -> AsyncIterator[trio.Process]:
    """A script that waits for more participants."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", INTERRUPTED, server.url],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    yield process
    process.kill()
    await process.wait()
    await process.stdout.aclose()
    await process.stderr.aclose()


async def test_ctrl_c_ends_the_call_and_then_the_script(script: trio.Process) -> None:
    assert script.stdout is not None
    assert script.stderr is not None
    with trio.fail_after(60):  # an interpreter begins and imports much, beside the rest of the suite
        assert await _line(script.stdout) == b"waiting\n"
        script.send_signal(signal.SIGINT)
        assert await _line(script.stdout) == b"interrupted 1\n"
        script.send_signal(signal.SIGINT)
        assert await script.wait() != 0
        assert b"KeyboardInterrupt" in b"".join([part async for part in script.stderr])


async def _line(pipe: trio.abc.ReceiveStream) -> bytes:
    """The next line: a pipe gives what was written in pieces of its own choice."""
    line = b""
    while not line.endswith(b"\n"):
        piece = await pipe.receive_some(1)
        assert piece, f"the pipe ended after {line!r}"
        line += piece
    return line
