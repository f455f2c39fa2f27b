"""Rounds as JSON, and their models as files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from disco.settings import Storage
from tests.conftest import Server, ServerFactory
from tests.dashboard.asking import get, train_round
from tests.web.clients import v4


async def train(server: Server, rounds: int) -> None:
    async with v4(server.ws) as first, v4(server.ws) as second:
        for number in range(rounds):
            await train_round((first, second), float(number + 1), number)


def arrays(form: str, content: bytes) -> dict[str, Any]:
    if form == "npz":
        with np.load(io.BytesIO(content)) as archive:
            return dict(archive)
    return dict(pytest.importorskip("safetensors.numpy").load(content))


@pytest.mark.parametrize("form", ["npz", "safetensors"])
async def test_a_rounds_model_can_be_had_as_a_file(server: Server, form: str) -> None:
    await train(server, 2)
    newest = await get(server, f"/tasks/tiny/export?format={form}")
    assert newest.headers["Content-Disposition"] == f'attachment; filename="tiny-round-2.{form}"'
    assert {name: float(array.max()) for name, array in arrays(form, newest.content).items()} == {
        "dense/kernel": 2.0, "dense/bias": 2.0, "out/kernel": 2.0, "out/bias": 2.0,
    }  # fmt: skip
    older = await get(server, f"/tasks/tiny/export?format={form}&round=1")
    assert arrays(form, older.content)["out/bias"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ("format=onnx", 422, "must be npz or safetensors"),
        ("round=-1", 422, "must be the number of a round"),
        ("round=²", 422, "must be the number of a round"),
        ("round=7", 404, "round"),
    ],
)
async def test_what_cannot_be_exported_is_refused_in_a_sentence(
    server: Server, query: str, status: int, told: str
) -> None:
    answer = await get(server, f"/tasks/tiny/export?{query}")
    assert answer.status_code == status
    assert told in answer.json()["error"]


async def test_rounds_are_listed_with_their_figures(server: Server) -> None:
    await train(server, 1)
    first, second = (await get(server, "/tasks/tiny/rounds")).json()["rounds"]
    assert (first["round"], first["onDisk"]) == (0, True)
    assert (second["round"], second["participants"], second["contributions"]) == (1, 2, 2)
    assert second["seconds"] > 0


async def test_figures_outlive_the_weights_that_were_pruned(start: ServerFactory) -> None:
    async with start(storage=Storage(keep_last=1)) as server:
        await train(server, 3)
        listed = (await get(server, "/tasks/tiny/rounds")).json()["rounds"]
    assert [(one["round"], one["onDisk"]) for one in listed] == [
        (0, True), (1, False), (2, False), (3, True),
    ]  # fmt: skip
