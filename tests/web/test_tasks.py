"""Tasks over HTTP."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from werkzeug.datastructures import Headers

from disco.settings import Limits
from tests.conftest import TINY, Server, ServerFactory

AXIOS = {"Accept": "application/json, text/plain, */*"}
FETCH = {"Accept": "*/*", "Sec-Fetch-Mode": "cors"}
WEIGHTS = (TINY / "tiny" / "weights.bin").read_bytes()
MODEL = json.loads((TINY / "tiny" / "model.json").read_text())
GOLDEN = Path(__file__).parents[1] / "interop" / "golden"


#: Quart's test client leaves out where a request comes from.
THIS_MACHINE = {"client": ("127.0.0.1", 50_000)}


async def get(server: Server, path: str, headers: dict[str, str] | None = None) -> Any:
    return await server.app.test_client().get(path, headers=Headers(headers or {}))


async def post(server: Server, body: Any, content_type: str = "application/json") -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await server.app.test_client().post(
        "/tasks", data=data, headers=Headers({"Content-Type": content_type}), scope_base=THIS_MACHINE
    )


def task(task_id: str = "posted", **training: Any) -> dict[str, Any]:
    return {
        "taskID": task_id,
        "displayInformation": {"taskTitle": "Posted"},
        "trainingInformation": {
            "modelID": "m", "epochs": 1, "roundDuration": 1, "validationSplit": 0, "batchSize": 2,
            "modelCompileData": {"optimizer": "sgd", "loss": "meanSquaredError", "metrics": []},
            "dataType": "tabular", "inputColumns": ["a", "b"], "outputColumns": ["y"], **training,
        },
    }  # fmt: skip


def submission(task_id: str = "posted", **training: Any) -> dict[str, Any]:
    return {"task": task(task_id, **training), "model": MODEL, "weights": base64.b64encode(WEIGHTS).decode()}


async def test_the_front_page_says_what_this_is(server: Server) -> None:
    answer = await (await get(server, "/")).get_json()
    assert answer["name"] == "Disco"
    assert answer["tasks"] == "/tasks"


@pytest.mark.parametrize("path", ["/tasks", "/tasks/"])
async def test_tasks_are_listed_for_every_generation(server: Server, path: str) -> None:
    [listed] = await (await get(server, path)).get_json()
    assert (listed["taskID"], listed["id"]) == ("tiny", "tiny")
    assert listed["displayInformation"]["taskTitle"] == listed["displayInformation"]["title"] == "Tiny"
    assert listed["dataType"] == listed["trainingInformation"]["dataType"] == "tabular"


async def test_one_task_says_where_its_training_stands(server: Server) -> None:
    shown = await (await get(server, "/tasks/tiny")).get_json()
    assert shown["state"]["round"] == 0
    assert shown["state"]["parameters"] == 13


@pytest.mark.parametrize(
    ("headers", "query", "form"),
    [
        ({}, "", "tfjs"),
        ({"Accept": "*/*"}, "", "tfjs"),
        ({"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Mode": "navigate"}, "", "tfjs"),
        (AXIOS, "", "integers"),
        (FETCH, "", "msgpack"),
        ({"Accept": "application/octet-stream"}, "", "msgpack"),
        (AXIOS, "?format=tfjs", "tfjs"),
        (FETCH, "?format=tfjs", "tfjs"),
        ({}, "?format=integers", "integers"),
        ({}, "?format=msgpack", "msgpack"),
    ],
)
async def test_model_json_takes_the_form_that_the_client_expects(
    server: Server, headers: dict[str, str], query: str, form: str
) -> None:
    answer = await get(server, "/tasks/tiny/model.json" + query, headers)
    body = await answer.get_data()
    if form == "tfjs":
        assert json.loads(body)["weightsManifest"][0]["paths"] == ["weights.bin"]
        assert answer.content_type == "application/json"
        return
    if form == "integers":
        assert answer.content_type == "application/json"
        artifacts = msgpack.unpackb(bytes(json.loads(body)))
    else:
        assert answer.content_type == "application/octet-stream"
        kind, artifacts = msgpack.unpackb(body)
        assert kind == 0
    assert artifacts["weightData"] == msgpack.ExtType(0x1A, WEIGHTS)
    assert artifacts["modelTopology"]["class_name"] == "Sequential"


async def test_an_unknown_format_is_refused_with_those_there_are(server: Server) -> None:
    answer = await get(server, "/tasks/tiny/model.json?format=onnx")
    assert answer.status_code == 422
    assert (await answer.get_json())["fields"][0]["problem"].startswith(
        "must be one of tfjs, integers, msgpack"
    )


async def test_weights_bin_holds_the_tensors_in_the_manifests_order(server: Server) -> None:
    answer = await get(server, "/tasks/tiny/weights.bin")
    assert await answer.get_data() == WEIGHTS
    assert answer.content_type == "application/octet-stream"


async def test_any_other_file_is_refused_naming_the_two(server: Server) -> None:
    answer = await get(server, "/tasks/tiny/secret.txt")
    assert answer.status_code == 404
    assert (await answer.get_json())["error"].endswith("it has model.json and weights.bin")


@pytest.mark.parametrize("path", ["/tasks/none", "/tasks/none/model.json", "/elsewhere"])
async def test_what_is_not_there_is_a_404_in_json(server: Server, path: str) -> None:
    answer = await get(server, path)
    assert answer.status_code == 404
    assert (await answer.get_json())["error"]


@pytest.mark.parametrize(
    "path", ["/tasks", "/tasks/tiny", "/tasks/tiny/model.json", "/tasks/tiny/weights.bin"]
)
async def test_what_a_client_has_already_is_not_sent_again(server: Server, path: str) -> None:
    first = await get(server, path)
    again = await get(server, path, {"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, await again.get_data()) == (304, b"")
    other = await get(server, path, {"If-None-Match": '"other"'})
    assert other.status_code == 200


async def test_etags_differ_between_the_forms_of_one_model(server: Server) -> None:
    tags = {
        (await get(server, f"/tasks/tiny/model.json?format={form}")).headers["ETag"]
        for form in ("tfjs", "integers", "msgpack")
    }
    assert len(tags) == 3


async def test_pages_of_any_origin_may_read_answers_by_default(server: Server) -> None:
    answer = await get(server, "/tasks", {"Origin": "https://lab.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    preflight = await server.app.test_client().options(
        "/tasks", headers=Headers({"Origin": "https://lab.example"})
    )
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]


async def test_origins_can_be_restricted(start: ServerFactory) -> None:
    async with start(cors_origins="https://lab.example") as server:
        allowed = await get(server, "/tasks", {"Origin": "https://lab.example"})
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://lab.example"
        other = await get(server, "/tasks", {"Origin": "https://other.example"})
        assert "Access-Control-Allow-Origin" not in other.headers


async def test_a_posted_task_is_served_at_once_and_after_a_restart(start: ServerFactory) -> None:
    async with start() as server:
        answer = await post(server, submission())
        assert answer.status_code == 201
        assert answer.headers["Location"] == "/tasks/posted"
        assert await (await get(server, "/tasks/posted/weights.bin")).get_data() == WEIGHTS
    async with start() as server:
        assert await (await get(server, "/tasks/posted/weights.bin")).get_data() == WEIGHTS


async def test_the_real_v2_clients_push_is_taken_and_comes_back_unchanged(server: Server) -> None:
    pushed = json.loads((GOLDEN / "http_post_tasks.json").read_text())["request"]["body"]
    assert (await post(server, pushed)).status_code == 201
    listed = await (await get(server, "/tasks", AXIOS)).get_json()
    assert pushed["task"] in listed


async def test_a_v3_push_as_text_with_objects_of_indices_is_taken(server: Server) -> None:
    model = await (await get(server, "/tasks/tiny/model.json?format=msgpack")).get_data()
    body = {"newTask": task("v3"), "model": {str(index): byte for index, byte in enumerate(model)}}
    assert (await post(server, body, "text/plain;charset=UTF-8")).status_code == 201


async def test_a_taken_id_is_refused(server: Server) -> None:
    answer = await post(server, submission("tiny"))
    assert answer.status_code == 409


async def test_every_violation_is_told_at_once(server: Server) -> None:
    body = submission("no spaces allowed", epochs=-1, batchSize="many")
    body["weights"] = base64.b64encode(WEIGHTS[:-4]).decode()
    answer = await post(server, body)
    assert answer.status_code == 422
    told = await answer.get_json()
    paths = {field["path"] for field in told["fields"]}
    assert {"task.taskID", "task.trainingInformation.epochs", "task.trainingInformation.batchSize"} <= paths
    assert any(re.match("model|weights", path) for path in paths)


async def test_a_body_that_is_not_json_is_refused(server: Server) -> None:
    answer = await post(server, b"{nonsense")
    assert answer.status_code == 400
    assert (await answer.get_json())["error"]


async def test_a_body_over_the_limit_is_refused_naming_it(start: ServerFactory) -> None:
    async with start(limits=Limits(body_bytes=1000)) as server:
        answer = await post(server, submission())
        assert answer.status_code == 413
        assert "limits.body_bytes, 1000" in (await answer.get_json())["error"]


async def test_a_decentralized_task_serves_its_initial_model(server: Server) -> None:
    assert (await post(server, submission("peers", scheme="Decentralized"))).status_code == 201
    entry = server.app.directory.get("peers")
    assert entry.session is not None
    entry.session.weights = type(entry.session.weights).zeros(entry.model.structure)
    served = np.frombuffer(await (await get(server, "/tasks/peers/weights.bin")).get_data(), "<f4")
    assert np.array_equal(served, np.frombuffer(WEIGHTS, "<f4"))
