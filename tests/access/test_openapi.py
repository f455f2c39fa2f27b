"""The server's own description: every route is in it, and every answer is what it says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from disco.web.openapi_routes import OPERATIONS, SCHEMAS
from tests.access.http import ask
from tests.conftest import Server
from tests.web.test_tasks import task


async def test_every_route_is_described(server: Server) -> None:
    def portable(rule: str) -> str:
        return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule).rstrip("/") or "/"

    methods = {"GET", "POST", "PUT", "DELETE"}
    routes = {
        (method.lower(), portable(rule.rule))
        for rule in server.app.url_map.iter_rules()
        for method in (rule.methods or set()) & methods
    }
    described = {(operation.method, operation.path) for operation in OPERATIONS}
    files = {("get", "/tasks/{task}/model.json"), ("get", "/tasks/{task}/weights.bin")}
    assert routes - {("get", "/tasks/{task}/{name}")} == described - files


async def test_the_document_is_served_and_its_schemas_are_schemas(server: Server) -> None:
    document = (await ask(server.url + "/openapi.json")).json
    assert document["openapi"].startswith("3.1")
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", ["id", "taskID"])
def test_a_task_that_the_server_takes_is_one_by_the_description(name: str) -> None:
    document: dict[str, Any] = {**task(), name: "posted"}
    Draft202012Validator(SCHEMAS["Task"]).validate(document)
    assert not Draft202012Validator(SCHEMAS["Task"]).is_valid({**document, name: "no id\n"})
