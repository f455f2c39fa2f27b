"""A server that keeps everything in memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import httpx
import numpy as np
import pytest

from disco.errors import UnknownRound
from disco.settings import Settings, Storage
from tests.conftest import ServerFactory
from tests.dashboard.asking import get, post, train_round
from tests.web.clients import v4

IN_MEMORY = Storage(medium="memory")


async def test_rounds_are_served_and_nothing_is_written(start: ServerFactory, settings: Settings) -> None:
    async with start(storage=IN_MEMORY) as server:
        async with v4(server.ws) as first, v4(server.ws) as second:
            await train_round((first, second), 1.5, 0)
        rounds = (await get(server, "/tasks/tiny/rounds")).json()
        served = (await get(server, "/tasks/tiny/weights.bin")).content
        assert [each["round"] for each in rounds["rounds"]] == [0, 1]
        np.testing.assert_array_equal(np.frombuffer(served, "<f4"), np.float32(1.5))
        assert (await post(server, "/tasks/tiny/pause")).status_code == 200
        assert (await get(server, "/readyz")).json()["checks"]["store"] == "writable"
    assert not settings.data_dir.exists()


async def test_it_starts_from_the_beginning_again(start: ServerFactory) -> None:
    for _ in range(2):
        async with start(storage=IN_MEMORY) as server:
            assert [each["round"] for each in (await rounds_of(server.url))] == [0]
            async with v4(server.ws) as first, v4(server.ws) as second:
                await train_round((first, second), 1.0, 0)


async def rounds_of(url: str) -> list[dict[str, Any]]:
    async with httpx.AsyncClient() as client:
        found: list[dict[str, Any]] = (await client.get(f"{url}/tasks/tiny/rounds")).json()["rounds"]
        return found


async def test_rounds_beyond_those_that_are_kept_are_forgotten(start: ServerFactory) -> None:
    async with start(storage=dataclasses.replace(IN_MEMORY, keep_last=1)) as server:
        async with v4(server.ws) as first, v4(server.ws) as second:
            for number in range(3):
                await train_round((first, second), float(number), number)
        with pytest.raises(UnknownRound):
            await server.app.directory.round_weights("tiny", 1)
        assert (await server.app.directory.round_weights("tiny", 3)).flat[0] == 2.0
