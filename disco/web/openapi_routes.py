"""What every route takes and answers, as data for the server's own description (`disco.web.openapi`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from disco.core.task_schema import TASK

Schema = dict[str, Any]

JSON, BYTES, EVENTS, TEXT, HTML = (
    *("application/json", "application/octet-stream", "text/event-stream"),
    *("text/plain", "text/html"),
)


class Operation(NamedTuple):
    """One method of one path.

    Args:
        path: as OpenAPI writes it.
        endpoint: the route's name in Quart.
        does: what it does, in one sentence.
        status: of success.
        answers: content type → schema of what success brings.
        query: parameters by name.
        takes: content type → schema of the body.
    """

    method: str
    path: str
    endpoint: str
    does: str
    status: int = 200
    answers: Mapping[str, Schema] = {}
    query: Mapping[str, Schema] = {}
    takes: Mapping[str, Schema] = {}


def _object(*required: str, **properties: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": properties}


def ref(name: str) -> Schema:
    """Refer to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


_COUNT: Schema = {"type": "integer", "minimum": 0}
_WORD: Schema = {"type": "string"}
_WORDS: Schema = {"type": "array", "items": _WORD}
_BYTES: Schema = {"type": "string", "format": "binary"}
_ANY: Schema = {}
_PAUSED = {JSON: _object("task", "paused", task=_WORD, paused={"type": "boolean"})}
_FORMS: Schema = {"enum": ["tfjs", "integers", "msgpack"]}
#: The number of a round, or null.
_BEST: Schema = {"type": ["integer", "null"], "minimum": 0}
_FIGURES: Schema = {"type": "object", "additionalProperties": {"type": "number"}}
_STATE = _object(
    *("round", "participants", "contributions", "minimum", "peers", "readyPeers", "peerRound", "peerMinimum"),
    *("present", "contributors", "hubs", "state", "reason", "parameters", "best", "evaluation"),
    round=_COUNT,
    participants=_COUNT,
    contributions=_COUNT,
    minimum=_COUNT,
    peers=_COUNT,
    readyPeers=_COUNT,
    peerRound=_COUNT,
    peerMinimum=_COUNT,
    present=_WORDS,
    contributors=_WORDS,
    hubs={
        "type": "array",
        "items": _object(
            *("dialect", "round", "present", "ready", "count"),
            dialect=_WORD,
            round=_COUNT,
            present=_WORDS,
            ready=_WORDS,
            count=_COUNT,
        ),
    },
    state={"enum": ["running", "restarting", "paused", "ended"]},
    reason=_WORD,
    best=_BEST,
    evaluation=_object("round", "figures", "trouble", round=_BEST, figures=_FIGURES, trouble=_WORD),
    parameters=_COUNT,
    model=_WORD,
    weights=_WORD,
)
_ROUND = _object(
    *("round", "closedAt", "participants", "contributions", "seconds", "figures", "onDisk"),
    round=_COUNT,
    closedAt={"type": "number"},
    participants=_COUNT,
    contributions=_COUNT,
    seconds={"type": "number"},
    figures=_FIGURES,
    onDisk={"type": "boolean"},
)
_ROUNDS = _object(
    *("task", "rounds", "best", "ended"),
    task=_WORD,
    rounds={"type": "array", "items": _ROUND},
    best=_BEST,
    ended=_WORD,
)
_BODY_BYTES: Schema = {
    "description": "Bytes: as a list of integers, as base64, as an object of indices, or as binary in msgpack.",
}


def portable(schema: Any) -> Any:
    r"""Write patterns as JavaScript does, whose dialect OpenAPI names: it has no ``\A`` and ``\Z``."""
    if isinstance(schema, dict):
        return {
            key: value.replace(r"\A", "^").replace(r"\Z", "$")
            if key == "pattern" and isinstance(value, str)
            else portable(value)
            for key, value in schema.items()
        }
    return [portable(each) for each in schema] if isinstance(schema, list | tuple) else schema


SCHEMAS: Final[Mapping[str, Schema]] = {
    "Task": {**portable(TASK), "anyOf": [{"required": ["id"]}, {"required": ["taskID"]}]},
    "ServedTask": _object(
        *("id", "taskID", "displayInformation", "trainingInformation"),
        id=_WORD,
        taskID=_WORD,
        displayInformation={"type": "object"},
        trainingInformation={"type": "object"},
        state=_STATE,
    ),
    "Submission": _object("task", "model", task=ref("Task"), model=_BODY_BYTES, weights=_BODY_BYTES),
    "Error": _object(
        "error",
        "fields",
        error={"type": "string", "minLength": 1},
        fields={"type": "array", "items": _object("path", "problem", path=_WORD, problem=_WORD)},
    ),
}

OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        "get",
        "/",
        "front",
        "Say what this server is; a browser gets the dashboard.",
        200,
        {JSON: _ANY, HTML: _ANY},
    ),
    Operation("get", "/openapi.json", "api.document", "This description.", 200, {JSON: _ANY}),
    Operation("get", "/healthz", "observe.alive", "Say that the server answers.", 200, {JSON: _ANY}),
    Operation("get", "/readyz", "observe.ready", "Say whether to send participants here.", 200, {JSON: _ANY}),
    Operation(
        "get",
        "/metrics",
        "observe.metrics",
        "What is counted and measured, for Prometheus.",
        200,
        {TEXT: _WORD},
    ),
    Operation(
        "post",
        "/tickets",
        "access.ticket",
        "Give a ticket for one WebSocket, for the token shown.",
        200,
        {JSON: _object("ticket", "expiresIn", ticket=_WORD, expiresIn={"type": "number"})},
    ),
    Operation(
        "get",
        "/tasks",
        "tasks.list_tasks",
        "Every task, for clients of all generations.",
        200,
        {JSON: {"type": "array", "items": ref("ServedTask")}},
    ),
    Operation(
        "post",
        "/tasks",
        "tasks.add_task",
        "Add a task; it is on disk and served when the answer comes.",
        201,
        {JSON: _object("taskID", "address", taskID=_WORD, address=_WORD)},
        takes={JSON: ref("Submission"), "application/msgpack": _BYTES},
    ),
    Operation(
        "get",
        "/tasks/{task}",
        "tasks.show_task",
        "One task, and where its training stands.",
        200,
        {JSON: ref("ServedTask"), HTML: _ANY},
    ),
    Operation(
        "put",
        "/tasks/{task}",
        "tasks.change_task",
        "Give a task another document; its model and rounds stay.",
        200,
        {JSON: ref("ServedTask")},
        takes={JSON: ref("Task")},
    ),
    Operation(
        "delete", "/tasks/{task}", "tasks.remove_task", "Forget a task, its model and its rounds.", 204
    ),
    Operation(
        "get",
        "/tasks/{task}/model.json",
        "tasks.model_file",
        "The architecture, or the whole model, of the newest round.",
        200,
        {JSON: _ANY, BYTES: _BYTES},
        {"format": _FORMS},
    ),
    Operation(
        "get",
        "/tasks/{task}/weights.bin",
        "tasks.model_file",
        "The weights of the newest round, as TF.js has them.",
        200,
        {BYTES: _BYTES},
    ),
    Operation(
        "get",
        "/tasks/{task}/rounds",
        "downloads.rounds",
        "The figures of all rounds that are remembered, which is the best, and why the training has ended.",
        200,
        {JSON: _ROUNDS},
    ),
    Operation(
        "get",
        "/tasks/{task}/export",
        "downloads.export",
        "A round's model as a file for other programs.",
        200,
        {BYTES: _BYTES},
        {"format": {"enum": ["npz", "safetensors"]}, "round": {"anyOf": [_COUNT, {"const": "best"}]}},
    ),
    Operation(
        "post",
        "/tasks/{task}/pause",
        "manage.pause",
        "Stop a task's training until it is resumed.",
        200,
        _PAUSED,
    ),
    Operation("post", "/tasks/{task}/resume", "manage.resume", "Let a paused task go on.", 200, _PAUSED),
    Operation(
        "post",
        "/tasks/{task}/rollback",
        "manage.roll_back",
        "Make an earlier round's model the newest.",
        200,
        {JSON: _object("task", "round", "restored", task=_WORD, round=_COUNT, restored=_COUNT)},
        takes={JSON: _object("round", round=_COUNT)},
    ),
    Operation(
        "get",
        "/events",
        "stream.all_tasks",
        "All tasks in short, whenever one changes.",
        200,
        {EVENTS: _WORD},
    ),
    Operation(
        "get",
        "/tasks/{task}/events",
        "stream.one_task",
        "One task, whenever it changes.",
        200,
        {EVENTS: _WORD},
    ),
    Operation("get", "/add", "pages.add_page", "The page that adds a task.", 200, {HTML: _WORD}),
    Operation(
        "get",
        "/tasks/{task}/join",
        "pages.join_page",
        "The page that trains in the browser.",
        200,
        {HTML: _WORD},
    ),
    Operation(
        "get",
        "/dashboard/{name}",
        "pages.file",
        "A file of the dashboard.",
        200,
        {HTML: _ANY, TEXT: _ANY, "*/*": _ANY},
    ),
)
