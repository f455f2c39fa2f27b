"""What ``POST /tasks`` brings: a task and its model, in the bodies of all generations and by hand.

=======  =====================================================================================
v2       ``{task, model: [int…], weights: [int…]}``
v3       ``{task or newTask, model, weights}``, bytes as objects of indices: ``{"0": 131, …}``
v4       ``{task, model}``, the model's bytes in either form
by hand  ``{task, model: {modelTopology, weightsManifest, …}, weights: base64 or [int…]}``
=======  =====================================================================================

Content types are not believed: v3 sends its JSON as ``text/plain``. A msgpack body has the same keys, with real
bytes. Wherever bytes are expected, each of these forms of them will do.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from disco.core.byte_objects import read_indexed
from disco.core.model import Model
from disco.core.packing import raw_bytes, unpack, unpack_tensor
from disco.core.task import Task
from disco.core.weight_specs import is_size
from disco.core.weights import Float32s, Weights
from disco.errors import InvalidTask, InvalidUpdate, MalformedMessage, Problem

_ABSENT = msgspec.Raw()
_MSGPACK_TYPES = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")


@dataclass(frozen=True, slots=True, eq=False)
class Submission:
    """A task with its model, ready to be served.

    Args:
        scorer: has a method ``evaluate(weights)`` that returns figures by name, and can be pickled; or None.
        folder: that it was read from, or None.
    """

    task: Task
    model: Model
    scorer: object | None = None
    folder: Path | None = None


def read_submission(body: bytes, content_type: str) -> Submission:
    """Read the body of ``POST /tasks`` of any generation.

    Args:
        body: as it came.
        content_type: as it came; it tells msgpack from JSON, and nothing else.

    Raises:
        MalformedMessage: the body is not JSON, or not msgpack where its type says so.
        InvalidTask: every problem of the task and of its model together.
    """
    parts = _decode(body, content_type)
    if not isinstance(parts, dict):
        raise InvalidTask([Problem("body", "must be an object with task and model")])
    problems: list[Problem] = []
    task, model = None, None
    try:
        task = _read_task(parts)
    except InvalidTask as error:
        problems += error.problems
    try:
        model = _read_model(parts.get("model"), parts.get("weights"))
    except InvalidTask as error:
        problems += error.problems
    if task is None or model is None:
        raise InvalidTask(problems)
    return Submission(task, model)


class _Body(msgspec.Struct, frozen=True):
    """A JSON body, its parts not decoded yet."""

    task: msgspec.Raw = _ABSENT
    newTask: msgspec.Raw = _ABSENT
    model: msgspec.Raw = _ABSENT
    weights: msgspec.Raw = _ABSENT


def _decode(body: bytes, content_type: str) -> Any:
    try:
        if content_type.partition(";")[0].strip().lower() in _MSGPACK_TYPES:
            return unpack(body)
        try:
            parts = msgspec.json.decode(body, type=_Body)
        except msgspec.ValidationError:  # JSON, perhaps, but no object
            return msgspec.json.decode(body)
        fields = {name: getattr(parts, name) for name in _Body.__struct_fields__}
        return {name: _value(raw) for name, raw in fields.items() if raw is not _ABSENT}
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MalformedMessage(f"the body cannot be read: {error}") from error


def _value(raw: msgspec.Raw) -> Any:
    indexed = read_indexed(memoryview(raw))
    return msgspec.json.decode(raw) if indexed is None else indexed


def _read_task(parts: Mapping[str, Any]) -> Task:
    name = "newTask" if "task" not in parts and "newTask" in parts else "task"
    if name not in parts:
        raise InvalidTask([Problem("task", "is missing")])
    return Task.from_document(parts[name], path=name)


def _read_model(given: Any, weights: Any) -> Model:
    if given is None:
        raise InvalidTask([Problem("model", "is missing")])
    if isinstance(given, dict) and "0" not in given:
        data = given.get("weightData") if weights is None else weights
        return Model.from_tfjs(given, b"" if data is None else _bytes(data, "weights"))
    model = Model.from_msgpack(_bytes(given, "model"))
    return model if weights is None else replace(model, weights=_read_weights(weights, model))


def _bytes(value: Any, path: str) -> bytes | memoryview:
    """Return bytes in whatever form they came.

    Raises:
        InvalidTask: `value` is not bytes in any form.
    """
    try:
        match value:
            case list():
                return bytes(value)
            case dict() if all(key == str(index) for index, key in enumerate(value)):
                return bytes(list(value.values()))
            case str():
                return base64.b64decode(value, validate=True)
            case _ if (data := raw_bytes(value)) is not None:
                return data
    except (ValueError, TypeError) as error:
        raise InvalidTask([Problem(path, f"cannot be read as bytes: {error}")]) from error
    rule = "must be bytes: a list of integers from 0 to 255, an object of them by index, or base64"
    raise InvalidTask([Problem(path, rule)])


def _read_weights(given: Any, model: Model) -> Weights:
    """Read the initial weights that come beside a model.

    Raises:
        InvalidTask: they cannot be read, do not fit the model, or are not finite.
    """
    try:
        entries = unpack(_bytes(given, "weights"))
        tensors = [
            _tensor(entry, index) for index, entry in enumerate(entries if isinstance(entries, list) else ())
        ]
        views = Weights.from_arrays(tensors)
        views.require_structure(model.structure)
        views.require_finite()
    except ValueError as error:
        raise InvalidTask([Problem("weights", f"cannot be read: {error}")]) from error
    except InvalidUpdate as error:
        raise InvalidTask([Problem("weights", f"cannot begin the training: {error}")]) from error
    return Weights.from_flat(np.array(views.flat), views.shapes)


def _tensor(entry: Any, index: int) -> Float32s:
    """Read one tensor, its values packed or as plain numbers."""
    packed = unpack_tensor(entry)
    if packed is not None:
        return packed
    match entry:
        case {"shape": [*shape], "data": [*numbers]} if all(map(is_size, shape)):
            values = np.asarray(numbers)
            sizes = [int(size) for size in shape]
            if values.ndim == 1 and values.dtype.kind in "iuf" and math.prod(sizes) == values.size:
                with np.errstate(
                    over="ignore"
                ):  # what does not fit in float32 is infinite, and refused as that
                    return values.astype(np.float32).reshape(sizes)
    raise ValueError(f"[{index}] must be {{shape, data}} with as many numbers as the shape holds")
