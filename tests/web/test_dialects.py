"""One server, every generation: what `GET /tasks` must satisfy, and which dialect a connection speaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from tests.conftest import Server, ServerFactory
from tests.core.oracles import v2_is_task, v3_is_task, v4_is_task
from tests.web.clients import connected, packed
from tests.web.test_tasks import get, post, submission

BUNDLED = Path(__file__).parents[2] / "tasks"
SHAPES = [(2, 3), (3,), (3, 1), (1,)]
UPDATE = [np.full(shape, 0.5, np.float32) for shape in SHAPES]


def v3_document() -> dict[str, Any]:
    return {
        "id": "of-2024",
        "displayInformation": {"taskTitle": "T", "summary": {"preview": "p", "overview": "o"}},
        "trainingInformation": {
            "dataType": "tabular", "scheme": "decentralized", "tensorBackend": "tfjs", "minNbOfParticipants": 3,
            "epochs": 2, "batchSize": 4, "roundDuration": 1, "validationSplit": 0, "aggregationStrategy": "secure",
            "maxShareValue": 100, "inputColumns": ["a", "b"], "outputColumn": "y",
        },
    }  # fmt: skip


def v4_document() -> dict[str, Any]:
    return {
        "id": "of-2026",
        "dataType": "image",
        "displayInformation": {
            "title": "T", "summary": {"preview": "p", "overview": "o"}, "dataExample": "https://example.org/e.png",
        },
        "trainingInformation": {
            "scheme": "federated", "aggregationStrategy": "byzantine", "minNbOfParticipants": 2, "epochs": 2,
            "batchSize": 4, "roundDuration": 1, "validationSplit": 0.1, "tensorBackend": "tfjs",
            "LABEL_LIST": ["cat", "dog"], "IMAGE_H": 8, "IMAGE_W": 8,
            "privacy": {"byzantineFaultTolerance": {"clippingRadius": 1}},
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    "is_task", [v2_is_task, v3_is_task, v4_is_task], ids=["v2's validator", "v3's", "v4's"]
)
async def test_every_task_of_the_list_satisfies_the_validators_of_all_generations(
    start: ServerFactory, is_task: Callable[[object], bool]
) -> None:
    async with start(tasks_dir=BUNDLED) as server:
        titanic = await (await get(server, "/tasks/titanic/model.json?format=msgpack")).get_data()
        for document in (v3_document(), v4_document()):
            answer = await post(server, {"task": document, "model": list(titanic)})
            assert answer.status_code == 201, await answer.get_data()
        assert (await post(server, submission("of-2022"))).status_code == 201
        listed = await (await get(server, "/tasks")).get_json()
    assert len(listed) == len([path for path in BUNDLED.iterdir() if path.is_dir()]) + 3
    assert [task["id"] for task in listed if not is_task(task)] == []


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("scheme", ["federated", "decentralized"])
@pytest.mark.parametrize(
    ("hello", "answers"),
    [
        (0, {"federated": 7, "decentralized": 1}),
        (
            "ClientConnected",
            {"federated": "NewFederatedNodeInfo", "decentralized": "NewDecentralizedNodeInfo"},
        ),
    ],
    ids=["v3", "v4"],
)
async def test_the_first_message_tells_the_dialect(
    server: Server, hello: Any, answers: dict[str, Any], scheme: str, slash: str
) -> None:
    async with connected(f"{server.ws}/{scheme}/tiny{slash}?query=ignored") as client:
        await client.say(type=hello, unknown="ignored")
        assert (await client.hear())["type"] == answers[scheme]


@pytest.mark.parametrize(
    "messages",
    [
        ["ClientConnected", 0],
        [0, "ClientConnected"],
        ["ClientConnected", "Unknown"],
        [0, 12],
        ["ClientConnected", "PeerIsReady"],
        [0, 3],
    ],
    ids=str,
)
async def test_what_is_no_message_of_a_connections_dialect_and_scheme_ends_it(
    server: Server, messages: list[Any]
) -> None:
    async with connected(f"{server.ws}/federated/tiny") as client:
        for kind in messages:
            await client.say(type=kind)
        code, reason = await client.goodbye()
    assert code == 1007
    assert "type" in reason


@pytest.mark.parametrize(
    ("hello", "contribution", "model"),
    [(0, 10, 11), ("ClientConnected", "SendPayload", "ReceiveServerPayload")],
    ids=["v3", "v4"],
)
@pytest.mark.parametrize(
    "payload",
    [
        None,
        b"",
        b"\xc1",
        "text",
        packed(UPDATE)[:-1],
        packed(UPDATE[:-1]),
        packed([np.full(shape, np.nan, np.float32) for shape in SHAPES]),
        msgpack.packb([{"shape": [2], "data": "text"}]),
    ],
    ids=["nil", "empty", "undecodable", "text", "cut off", "a tensor short", "NaN", "no numbers"],
)
async def test_a_payload_that_cannot_count_is_answered_with_the_current_model_and_the_next_one_counts(
    server: Server, hello: Any, contribution: Any, model: Any, payload: Any
) -> None:
    async with (
        connected(f"{server.ws}/federated/tiny") as one,
        connected(f"{server.ws}/federated/tiny") as two,
    ):
        for client in (one, two):
            await client.say(type=hello)
            await client.hear()
        await one.say(type=contribution, payload=payload, round=0)
        assert (await one.hear_type(model))["round"] == 0
        for client in (one, two):
            await client.say(type=contribution, payload=packed(UPDATE), round=0)
        for client in (one, two):
            assert (await client.hear_type(model))["round"] == 1
