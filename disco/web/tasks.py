"""Tasks over HTTP: the list, one task, its model files, and adding one.

``model.json`` has three forms, because three kinds of clients ask for it under one name:

=========== ======================================== ==================================================
``?format`` what it is                               who gets it without asking
=========== ======================================== ==================================================
``tfjs``    TF.js layers model, with ``weights.bin`` everybody else: browsers' address bars, curl, Python
``integers`` a JSON array of the bytes of v2 artifacts axios (DISCO 2022–23), by its ``Accept`` header
``msgpack`` the bytes of ``[kind, artifacts]``       ``fetch()`` (DISCO since 2024), by ``Sec-Fetch-Mode``
=========== ======================================== ==================================================
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import trio
from quart import Blueprint, Request, Response, current_app, request
from werkzeug.datastructures import Headers

from disco.core.access import Deed
from disco.core.submission import read_submission
from disco.core.task import Task
from disco.errors import DiscoError, InvalidTask, MalformedMessage, Problem, UnknownTask
from disco.runtime.directory import Directory, Entry, Served
from disco.runtime.lines import THREAD_PARAMETERS
from disco.web import pages
from disco.web.gatekeeping import gate
from disco.web.standing import names, standing

#: What axios asks for unless told otherwise: the sign of a client of 2022–23.
AXIOS_ACCEPT = "application/json, text/plain, */*"
FORMATS = ("tfjs", "integers", "msgpack")

blueprint = Blueprint("tasks", __name__)


def directory() -> Directory:
    """Return the tasks of the app that handles this request."""
    found: Directory = current_app.extensions["disco.directory"]
    return found


@blueprint.get("/tasks", strict_slashes=False)
@blueprint.get("/tasks/", strict_slashes=False)
async def list_tasks() -> Response:
    """Every task, in one object for all generations of clients."""
    for_v2 = request.headers.get("Accept", "") == AXIOS_ACCEPT
    tasks = [entry.task.for_v2() if for_v2 else entry.task.public() for entry in directory()]
    return conditional(json.dumps(tasks).encode(), "application/json", vary="Accept")


@blueprint.get("/tasks/<task>", strict_slashes=False)
async def show_task(task: str) -> Response:
    """One task, with where its training stands; a browser gets its page."""
    if pages.wants_page(request):
        known = any(entry.task.id == task for entry in directory())
        return await pages.send("task.html" if known else "missing.html", 200 if known else 404)
    entry = directory().get(task)
    state = {
        **standing(entry),
        **names(entry),
        "parameters": entry.model.weights.parameters,
        "model": f"/tasks/{task}/model.json",
        "weights": f"/tasks/{task}/weights.bin",
    }
    body = json.dumps({**entry.task.public(), "state": state}).encode()
    return conditional(body, "application/json", vary="Accept")


@blueprint.post("/tasks", strict_slashes=False)
@blueprint.post("/tasks/", strict_slashes=False)
async def add_task() -> Response:
    """Add a task; it is on disk and served when the answer comes."""
    body = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    submission = await trio.to_thread.run_sync(read_submission, body, request.content_type or "")
    del body
    # A token may be for some tasks only, and which one this is stands in the body.
    guard = gate()
    guard.require(Deed.ADD, guard.asked(request.scope), submission.task, submission.task.id)
    entry = await directory().add(submission, "post")
    address = f"/tasks/{entry.task.id}"
    answer = Response(
        json.dumps({"taskID": entry.task.id, "address": address}), 201, mimetype="application/json"
    )
    answer.headers["Location"] = address
    return answer


@blueprint.put("/tasks/<task>", strict_slashes=False)
async def change_task(task: str) -> Response:
    """Give a task another document, alone or as ``{task}``; its ID, its model and its rounds stay."""
    entry = directory().get(task)
    body = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    changed = await trio.to_thread.run_sync(read_document, body)
    if changed.id != entry.task.id:
        raise InvalidTask(
            [Problem("task.id", f"must stay {entry.task.id!r}: give another task its own place")]
        )
    entry = await directory().change(changed)
    return Response(json.dumps(entry.task.public()), 200, mimetype="application/json")


@blueprint.delete("/tasks/<task>", strict_slashes=False)
async def remove_task(task: str) -> Response:
    """Forget a task, its model and its rounds. One from a folder is back at the next start, unless its folder goes."""
    await directory().remove(task)
    return Response("", 204)


@blueprint.get("/tasks/<task>/<path:name>")
async def model_file(task: str, name: str) -> Response:
    """``model.json`` or ``weights.bin`` of the global model that this task serves."""
    entry = directory().get(task)
    if name == "weights.bin":
        return await served(entry, "bin", "application/octet-stream")
    if name != "model.json":
        raise UnknownTask(f"a task has no file {name[:64]!r}: it has model.json and weights.bin")
    match choose_format(request):
        case "tfjs":
            return await served(entry, "tfjs", "application/json")
        case "integers":
            return await served(entry, "integers", "application/json")
        case _:
            return await served(entry, "msgpack", "application/octet-stream")


def read_document(body: bytes) -> Task:
    """Read the body of ``PUT /tasks/:id``: a task's document, alone or under ``task``.

    Raises:
        MalformedMessage: it is no JSON.
        InvalidTask: every problem of the document.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"the body is not JSON: {error}") from error
    if isinstance(document, dict) and isinstance(document.get("task"), dict):
        document = document["task"]
    return Task.from_document(document)


def choose_format(asked: Request) -> str:
    """Tell which form of ``model.json`` a request wants.

    Raises:
        InvalidTask: ``?format=`` names none.
    """
    forced = asked.args.get("format")
    if forced is not None:
        if forced not in FORMATS:
            raise InvalidTask(
                [Problem("format", f"must be one of {', '.join(FORMATS)}, not {forced[:32]!r}")]
            )
        return str(forced)
    accept = asked.headers.get("Accept", "*/*").strip()
    if accept == AXIOS_ACCEPT:
        return "integers"
    if accept == "*/*" and asked.headers.get("Sec-Fetch-Mode") == "cors":
        return "msgpack"
    if accept.split(",")[0].split(";")[0].strip() in {
        "application/octet-stream",
        "application/msgpack",
        "application/x-msgpack",
        "application/vnd.msgpack",
    }:
        return "msgpack"
    return "tfjs"


async def served(entry: Entry, form: str, content_type: str) -> Response:
    """Answer with one form of the global model, or with 304."""
    model = entry.served()
    tag = f'"{hashlib.sha256(f"{entry.task.id} {model.version} {form}".encode()).hexdigest()[:24]}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "no-cache",
        "Vary": "Accept, Sec-Fetch-Mode",
        "X-Disco-Round": str(model.round),
    }
    if tag in request.if_none_match.to_header() or "*" in request.headers.get("If-None-Match", ""):
        return Response("", 304, headers=Headers(headers))
    write = WRITERS[form]
    if model.weights.parameters > THREAD_PARAMETERS:
        body = await trio.to_thread.run_sync(write, entry, model)
    else:
        body = write(entry, model)
    return Response(body, 200, headers=Headers(headers), content_type=content_type)


def _integers(entry: Entry, model: Served) -> bytes:
    data = entry.model.to_msgpack(model.weights, tagged=False)
    return b"[" + b",".join([DIGITS[byte] for byte in data]) + b"]"


DIGITS = tuple(b"%d" % byte for byte in range(256))
WRITERS: dict[str, Callable[[Entry, Served], bytes]] = {
    "tfjs": lambda entry, _: json.dumps(entry.model.tfjs_json()).encode(),
    "bin": lambda entry, model: entry.model.weights_bin(model.weights),
    "integers": _integers,
    "msgpack": lambda entry, model: entry.model.to_msgpack(model.weights, tagged=True),
}


def conditional(body: bytes, content_type: str, vary: str | None = None) -> Response:
    """Answer with a small body and its ETag, or with 304."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", **({"Vary": vary} if vary else {})}
    if tag in request.headers.get("If-None-Match", ""):
        return Response("", 304, headers=Headers(headers))
    return Response(body, 200, headers=Headers(headers), content_type=content_type)


def describe(error: DiscoError) -> tuple[dict[str, Any], int]:
    """Return the JSON body and status that answer an error."""
    if isinstance(error, InvalidTask):
        fields = [{"path": problem.path, "problem": problem.problem} for problem in error.problems]
        return {"error": f"{len(fields)} problem(s): {error}", "fields": fields}, error.http_status
    return {"error": str(error), "fields": []}, error.http_status
