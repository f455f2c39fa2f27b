"""schemathesis asks a running server everything that its description allows, and much that it does not."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from disco.web.openapi import described
from tests.test_launch import launched

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
from hypothesis import HealthCheck, Phase, settings  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)


def no_fault_of_the_servers(context: Any, response: Any, case: Any) -> None:
    """Check that nothing broke; 503 is an answer, to what a paused task is asked for."""
    assert response.status_code < 500 or response.status_code == 503, response.text


CHECKS = (
    no_fault_of_the_servers,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
#: Of each route. `schemathesis run http://127.0.0.1:8080/openapi.json` asks more.
EXAMPLES = 20

# Streams of events do not end.
schema = schemathesis.openapi.from_dict(described()).exclude(path_regex="/events$")


@schemathesis.serializer("application/msgpack")
def as_it_is(_: Any, value: Any) -> bytes:
    """Send what was drawn for a binary body."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@schema.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Ask half of the time for the task that is there. It is not to be removed meanwhile."""
    drawn = str((path_parameters or {}).get("task", ""))
    if path_parameters and drawn and ord(drawn[0]) % 2 and context.operation.method.upper() != "DELETE":
        path_parameters["task"] = "tiny"
    return path_parameters


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that is asked."""
    with launched("disco", "serve", "--port", "0", data=tmp_path_factory.mktemp("asked") / "data") as (
        _,
        url,
    ):
        yield url


@pytest.mark.slow
@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
def test_every_answer_is_what_the_description_says(case: Any, served: str) -> None:
    case.call_and_validate(base_url=served, checks=CHECKS)
