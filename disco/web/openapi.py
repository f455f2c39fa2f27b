"""The server's own description, at ``/openapi.json``: every route, with what it takes and answers.

The schema of a task is `disco.core.task_schema.TASK`, the one that documents are checked with.

Source: OpenAPI 3.1, whose schemas are JSON Schema 2020-12.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from quart import Blueprint, Response, jsonify

from disco.core.access import Deed
from disco.core.task_schema import ID_PATTERN
from disco.web.answers import disco_version
from disco.web.gatekeeping import DEEDS
from disco.web.openapi_routes import JSON, OPERATIONS, SCHEMAS, Operation, Schema, portable, ref

PARAMETERS: Final[Mapping[str, Schema]] = {
    "task": {"type": "string", "pattern": portable({"pattern": ID_PATTERN})["pattern"]},
    "name": {"type": "string"},
}

blueprint = Blueprint("api", __name__)


@blueprint.get("/openapi.json")
async def document() -> Response:
    """Describe every route."""
    return jsonify(described())


def described() -> dict[str, Any]:
    """Return the OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Disco",
            "version": disco_version(),
            "description": "Tasks and models over HTTP. Training is over WebSockets: `/federated/:taskID` and "
            "`/decentralized/:taskID`.",
        },
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    deed = DEEDS.get(operation.endpoint, Deed.MANAGE)
    error = {JSON: {"schema": ref("Error")}}
    told: dict[str, Any] = {
        "operationId": f"{operation.method}{operation.path}",
        "summary": operation.does,
        "parameters": _parameters(operation),
        "responses": {
            str(operation.status): _answer("Done.", operation.answers),
            **(
                {"304": {"description": "It is what If-None-Match names."}}
                if operation.method == "get"
                else {}
            ),
            "4XX": {"description": "Refused; the sentence says why.", "content": error},
            "503": _answer("Not now; Retry-After says when to try again.", {JSON: {}}),
        },
        # Whether a token is needed depends on the server's settings, and for joining on the task.
        "security": [{}, {"token": []}] if deed is not None else [{}],
        **({"x-disco-deed": deed.value} if deed is not None else {}),
    }
    if operation.takes:
        told["requestBody"] = {"required": True, **_content(operation.takes)}
    return told


def _parameters(operation: Operation) -> list[Schema]:
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    inside = [{"name": name, "in": "path", "required": True, "schema": PARAMETERS[name]} for name in names]
    return inside + [
        {"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()
    ]


def _answer(description: str, content: Mapping[str, Schema]) -> dict[str, Any]:
    return {"description": description, **(_content(content) if content else {})}


def _content(content: Mapping[str, Schema]) -> dict[str, Any]:
    return {"content": {kind: {"schema": schema} for kind, schema in content.items()}}
