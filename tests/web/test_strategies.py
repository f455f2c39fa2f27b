"""Aggregation strategies through a real server, its store and its sockets."""

from __future__ import annotations

import math
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from disco.core.aggregation.fedopt import Adam, ServerOptimizer
from disco.core.weights import Weights
from disco.settings import Limits
from tests.conftest import TINY, Server, ServerFactory
from tests.web.clients import Client, packed, unpacked, v4

SHAPES = ((2, 3), (3,), (3, 1), (1,))
SIZE = 13
Flat = NDArray[np.float32]


@pytest.fixture
def serve(start: ServerFactory, tmp_path: Path) -> Callable[[str], ServerFactory]:
    """Serve the tiny task with an aggregation table: `async with serve("strategy = …")()`."""

    def with_table(table: str) -> ServerFactory:
        folder = tmp_path / "tasks" / "tiny"
        shutil.copytree(TINY / "tiny", folder, dirs_exist_ok=True)
        document = (TINY / "tiny" / "task.toml").read_text("utf-8")
        (folder / "task.toml").write_text(f"{document}\n[aggregation]\n{table}\n", "utf-8")

        @asynccontextmanager
        async def starting(**changes: object) -> AsyncIterator[Server]:
            async with start(tasks_dir=tmp_path / "tasks", **changes) as server:
                yield server

        return starting

    return with_table


def arrays(flat: Flat) -> list[Flat]:
    return Weights.from_flat(np.asarray(flat, dtype=np.float32), SHAPES).arrays()


def flattened(payload: object) -> Flat:
    return np.concatenate([array.reshape(-1) for array in unpacked(payload)])


def some(seed: int, scale: float = 1.0) -> Flat:
    return (np.random.default_rng(seed).standard_normal(SIZE) * scale).astype(np.float32)


async def model(server: Server) -> Flat:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{server.url}/tasks/tiny/weights.bin")
    return np.frombuffer(answer.content, dtype="<f4")


async def send(participant: Client, flat: Flat, round_: int, **more: object) -> None:
    await participant.say(type="SendPayload", payload=packed(arrays(flat)), round=round_, **more)


async def closed(participant: Client) -> tuple[int, Flat]:
    message = await participant.hear_type("ReceiveServerPayload")
    return message["round"], flattened(message["payload"])


async def round_of(server: Server, updates: list[Flat], number: int, **more: list[object]) -> Flat:
    """Let as many participants contribute as there are updates, and return what they all got."""
    async with AsyncExitStack() as stack:
        participants = [await stack.enter_async_context(v4(server.ws)) for _ in updates]
        for index, (participant, update) in enumerate(zip(participants, updates, strict=True)):
            await send(participant, update, number, **{name: each[index] for name, each in more.items()})
        heard = [await closed(participant) for participant in participants]
    assert all(round_ == number + 1 and np.array_equal(got, heard[0][1]) for round_, got in heard)
    return heard[0][1]


async def test_a_robust_rule_leaves_a_hostile_contribution_out(
    serve: Callable[[str], ServerFactory],
) -> None:
    async with serve('strategy = "median"')() as server:
        found = await round_of(server, [some(1), some(2), some(3, 1e20)], 0)

    assert np.array_equal(found, np.median([some(1), some(2), some(3, 1e20)], axis=0).astype(np.float32))


async def test_contributions_count_by_the_samples_that_are_stated(
    serve: Callable[[str], ServerFactory],
) -> None:
    async with serve("weighting = { cap = 100 }")() as server:
        found = await round_of(server, [some(1), some(2)], 0, samples=[25, 1e9])

    np.testing.assert_allclose(found, 0.2 * some(1) + 0.8 * some(2), rtol=1e-5, atol=1e-6)


async def test_the_optimizer_s_state_survives_a_restart(serve: Callable[[str], ServerFactory]) -> None:
    table = 'optimizer = { name = "fedadam", learningRate = 0.1 }'
    reference = ServerOptimizer(Adam(0.1))
    for number in range(3):
        async with serve(table)() as server:
            before = Weights.from_flat(await model(server), SHAPES)
            reference.begin(before)
            mean = ((some(number).astype(np.float64) + some(number + 10)) / 2).astype(np.float32)
            found = await round_of(server, [some(number), some(number + 10)], number)

        assert np.array_equal(found, reference.apply(Weights.from_flat(mean, SHAPES)).flat)


async def test_a_round_that_is_restored_begins_the_optimizer_anew(
    serve: Callable[[str], ServerFactory],
) -> None:
    table = 'optimizer = { name = "fedavgm" }'
    async with serve(table)() as server:
        for number in range(2):
            await round_of(server, [some(number), some(number + 10)], number)
        await server.app.directory.roll_back("tiny", 1)
        found = await round_of(server, [some(5), some(6)], 3)

    # Without momentum of the rounds before, the first step of FedAvgM is the mean.
    np.testing.assert_allclose(found, (some(5) + some(6)) / 2, rtol=1e-5, atol=1e-6)


async def test_figures_of_the_strategy_stand_with_the_round(serve: Callable[[str], ServerFactory]) -> None:
    async with serve("clipping = { norm = 0.5 }")() as server:
        current = await model(server)
        found = await round_of(server, [current + 100, current + np.float32(0.01)], 0)
        (_, record) = await server.app.directory.rounds("tiny")

    assert record.figures == {"clipped": 1.0}
    assert np.linalg.norm(found - current) < 0.5


async def test_a_buffered_round_closes_without_the_slow_who_count_in_the_next(
    serve: Callable[[str], ServerFactory],
) -> None:
    async with serve("buffer = { size = 2, maxStaleness = 3 }")() as server, AsyncExitStack() as stack:
        start = await model(server)
        fast, other, slow = [await stack.enter_async_context(v4(server.ws)) for _ in range(3)]
        await send(fast, some(1), 0)
        await send(other, some(2), 0)
        number, first = await closed(fast)
        await closed(other)
        assert number == 1
        await send(slow, some(3), 0)
        await send(fast, some(4), 1)
        number, second = await closed(slow)
        _, record = (await server.app.directory.rounds("tiny"))[-2:]

    assert number == 2
    late = (some(3).astype(np.float64) - start) / math.sqrt(2)
    np.testing.assert_allclose(second, first + (late + (some(4) - first)) / 2, rtol=1e-5, atol=1e-5)
    assert record.figures == {"staleness_mean": 0.5, "staleness_max": 1.0}


async def test_who_trained_on_a_round_before_a_restart_still_counts(
    serve: Callable[[str], ServerFactory],
) -> None:
    serving = serve("buffer = { size = 2, maxStaleness = 3 }")
    async with serving() as server:
        start = await model(server)
        first = await round_of(server, [some(1), some(2)], 0)
    async with serving() as server, v4(server.ws) as late, v4(server.ws) as other:
        await send(late, some(3), 0)
        await send(other, some(4), 1)
        number, found = await closed(late)

    assert number == 2
    change = (some(3).astype(np.float64) - start) / math.sqrt(2)
    np.testing.assert_allclose(found, first + (change + (some(4) - first)) / 2, rtol=1e-5, atol=1e-5)


async def test_contributions_that_do_not_fit_in_memory_are_held_on_disk(
    serve: Callable[[str], ServerFactory],
) -> None:
    async with serve('strategy = "median"')(limits=Limits(held_bytes=1)) as server:
        found = await round_of(server, [some(1), some(2), some(3)], 0)

    assert np.array_equal(found, np.median([some(1), some(2), some(3)], axis=0).astype(np.float32))


async def test_a_strategy_that_is_not_one_is_refused_with_the_task(server: Server) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{server.url}/tasks",
            json={"task": {"taskID": "x", "aggregation": {"strategy": "bulyan", "clipping": {"norm": 0}}}},
        )

    told = {field["path"] for field in answer.json()["fields"]}
    assert answer.status_code == 422
    assert {"task.aggregation.strategy", "task.aggregation.clipping.norm"} <= told


# ── Weighted by samples, one full-batch step a round is gradient descent on everybody's data ──────────────


def descended(flat: NDArray[np.float64], inputs: Flat, wanted: Flat) -> NDArray[np.float64]:
    """Take one step of gradient descent on a mean squared error, with two dense layers, the first of them ReLU."""
    first, bias, second, last = (array.astype(np.float64) for array in np.split(flat, np.cumsum([6, 3, 3])))
    hidden = inputs @ first.reshape(2, 3) + bias
    active = np.maximum(hidden, 0)
    error = 2 * (active @ second + last[0] - wanted) / len(wanted)
    back = np.outer(error, second) * (hidden > 0)
    gradient = [inputs.T @ back, back.sum(axis=0), active.T @ error, np.array([error.sum()])]
    return flat - 0.1 * np.concatenate([part.reshape(-1) for part in gradient])


@pytest.mark.parametrize("sizes", [(20, 20, 20), (50, 9, 1), (1, 1, 58)])
async def test_full_batch_steps_equal_centralised_gradient_descent_for_every_split(
    serve: Callable[[str], ServerFactory], sizes: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((60, 2)).astype(np.float32)
    wanted = (inputs[:, 0] * inputs[:, 1]).astype(np.float32)
    parts = np.split(np.argsort(wanted), np.cumsum(sizes)[:-1])  # sorted: no two have data alike
    async with serve("weighting = { cap = 60 }")() as server, AsyncExitStack() as stack:
        participants = [await stack.enter_async_context(v4(server.ws)) for _ in sizes]
        together = (await model(server)).astype(np.float64)
        current = together
        for number in range(8):
            for participant, part in zip(participants, parts, strict=True):
                update = descended(current, inputs[part], wanted[part])
                await send(participant, update.astype(np.float32), number, samples=len(part))
            heard = [await closed(participant) for participant in participants]
            current = heard[0][1].astype(np.float64)
            together = descended(together, inputs, wanted)

    np.testing.assert_allclose(current, together, rtol=0, atol=1e-6)
