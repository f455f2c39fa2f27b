from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disco.core.submission import Submission, read_submission
from disco.errors import InvalidTask, MalformedMessage
from tests.core.task_documents import ANYTHING

GOLDEN = Path(__file__).parents[1] / "interop" / "golden"
VALUES = np.array([1, -2, 0.5], dtype="<f4")
TOPOLOGY = {"class_name": "Sequential", "config": {"name": "small", "layers": []}}
SPECS = [
    {"name": "kernel", "shape": [2, 1], "dtype": "float32"},
    {"name": "bias", "shape": [1], "dtype": "float32"},
]


def pushed_by_v2() -> dict[str, Any]:
    """The body of a real v2 client's `pushTask`."""
    body: dict[str, Any] = json.loads((GOLDEN / "http_post_tasks.json").read_text())["request"]["body"]
    return body


def a_task() -> dict[str, Any]:
    task: dict[str, Any] = pushed_by_v2()["task"]
    return task


def artifacts() -> dict[str, Any]:
    return {
        "modelTopology": TOPOLOGY,
        "weightSpecs": SPECS,
        "weightData": msgpack.ExtType(0x1A, VALUES.tobytes()),
    }


def packed(value: Any) -> bytes:
    encoded: bytes = msgpack.packb(value)
    return encoded


def indexed(data: bytes) -> dict[str, int]:
    """What `JSON.stringify` makes of a Uint8Array."""
    return {str(index): byte for index, byte in enumerate(data)}


def read(body: Any, content_type: str = "application/json") -> Submission:
    return read_submission(json.dumps(body).encode(), content_type)


def problems_of(body: Any) -> dict[str, str]:
    with pytest.raises(InvalidTask) as caught:
        read(body)
    return {problem.path: problem.problem for problem in caught.value.problems}


# ── Every generation's body ──────────────────────────────────────────────────────────────────────────────


def test_what_a_v2_client_pushes_is_read() -> None:
    submission = read(pushed_by_v2())

    assert submission.task.id == "golden"
    assert submission.model.weights.flat.tolist() == pytest.approx(
        [1, -2, 0.5, 300, 0, 0.1, -70000, 1.25, 127]
    )


def test_v2_s_weights_are_the_initial_ones() -> None:
    weights = [{"shape": [2, 1], "data": [7, 0.25]}, {"shape": [1], "data": [-1]}]
    body = {"task": a_task(), "model": list(packed(artifacts())), "weights": list(packed(weights))}

    assert read(body).model.weights.flat.tolist() == [7, 0.25, -1]


@pytest.mark.parametrize("name", ["task", "newTask"])
def test_what_a_v3_client_pushes_is_read_under_its_wrong_content_type(name: str) -> None:
    weights = [
        {"shape": spec["shape"], "data": msgpack.ExtType(0x17, bytes(4 * n))}
        for spec, n in zip(SPECS, (2, 1), strict=True)
    ]
    body = {name: a_task(), "model": indexed(packed([0, artifacts()])), "weights": indexed(packed(weights))}

    assert read(body, "text/plain;charset=UTF-8").model.weights.flat.tolist() == [0, 0, 0]


@pytest.mark.parametrize("form", [list, indexed])
def test_what_a_v4_client_pushes_is_read(form: Any) -> None:
    body = {"task": a_task(), "model": form(packed([0, "tabular", artifacts()]))}

    assert read(body).model.weights.flat.tolist() == VALUES.tolist()


@pytest.mark.parametrize("form", [list, lambda data: base64.b64encode(data).decode()])
@pytest.mark.parametrize(
    "layout", [{"weightSpecs": SPECS}, {"weightsManifest": [{"paths": ["weights.bin"], "weights": SPECS}]}]
)
def test_tfjs_files_are_read(form: Any, layout: dict[str, Any]) -> None:
    body = {
        "task": a_task(),
        "model": {"modelTopology": TOPOLOGY, **layout},
        "weights": form(VALUES.tobytes()),
    }

    assert read(body).model.weights.flat.tolist() == VALUES.tolist()


def test_msgpack_is_read_with_real_bytes() -> None:
    body = packed({"task": a_task(), "model": packed(artifacts())})

    assert read_submission(body, "application/msgpack").model.weights.flat.tolist() == VALUES.tolist()


# ── Refusing ─────────────────────────────────────────────────────────────────────────────────────────────


def test_problems_of_task_and_model_are_told_together() -> None:
    task = a_task()
    del task["displayInformation"]["taskTitle"]

    found = problems_of({"task": task, "model": {"weightSpecs": SPECS}, "weights": []})

    assert found.keys() == {"task.displayInformation.taskTitle", "model.modelTopology", "model.weightData"}


@pytest.mark.parametrize("body", [{}, [], 7, None, "task", {"task": None, "model": None}])
def test_a_body_without_task_and_model_is_refused(body: Any) -> None:
    assert problems_of(body)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"task": NaN}', b"[" * 100_000, b'"\xff"'])
def test_a_body_that_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_submission(body, "application/json")


@pytest.mark.parametrize(
    "model", [[256], [-1], ["x"], [[]], {"0": 1, "2": 3}, {"0": None}, "not base64!", 7, True, ""]
)
def test_bytes_that_are_none_are_refused(model: Any) -> None:
    assert "model" in problems_of({"task": a_task(), "model": model})


@pytest.mark.parametrize(
    "weights",
    [
        [],
        [{"shape": [2, 1], "data": [1, 2]}],
        [{"shape": [1, 2], "data": [1, 2]}, {"shape": [1], "data": [3]}],
        [{"shape": [2, 1], "data": [1, 2, 3]}, {"shape": [1], "data": [3]}],
        [{"shape": [2, 1], "data": [1, float("nan")]}, {"shape": [1], "data": [3]}],
        [{"shape": [2, 1], "data": [1, 1e300]}, {"shape": [1], "data": [3]}],
        [{"shape": [2, 1], "data": ["1", "2"]}, {"shape": [1], "data": [3]}],
        [{"shape": [2, 1], "data": [[1], [2]]}, {"shape": [1], "data": [3]}],
        {"shape": [2, 1]},
        7,
    ],
)
def test_initial_weights_that_do_not_fit_the_model_are_refused(weights: Any) -> None:
    body = {"task": a_task(), "model": list(packed(artifacts())), "weights": list(packed(weights))}

    assert problems_of(body).keys() == {"weights"}


@given(
    st.binary(max_size=64)
    | ANYTHING.map(lambda value: json.dumps(value, default=str).encode())
    | st.fixed_dictionaries({"task": ANYTHING, "model": ANYTHING, "weights": ANYTHING}).map(
        lambda value: json.dumps(value, default=str).encode()
    ),
    st.sampled_from(["application/json", "text/plain", "application/msgpack", ""]),
)
@settings(max_examples=300)
def test_any_body_is_a_submission_invalid_or_malformed(body: bytes, content_type: str) -> None:
    try:
        read_submission(body, content_type)
    except (InvalidTask, MalformedMessage) as error:
        assert str(error)  # noqa: PT017 - every refusal has a sentence


@given(ANYTHING, st.sampled_from(["task", "model", "weights"]))
def test_a_right_body_with_one_part_replaced_is_a_submission_or_invalid(part: Any, name: str) -> None:
    body = pushed_by_v2() | {name: part}
    try:
        read_submission(json.dumps(body, default=str, allow_nan=False).encode(), "application/json")
    except (InvalidTask, MalformedMessage, ValueError):
        return
