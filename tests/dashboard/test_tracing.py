"""One contribution's way as spans; and nothing of it unless configured."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from disco.errors import SettingsError
from disco.runtime.tracing import ENDPOINT, NoTracer, OpenTelemetry, configured_tracer
from tests.conftest import ServerFactory
from tests.dashboard.asking import train_round
from tests.web.clients import v4


def test_nothing_is_imported_unless_an_endpoint_is_configured() -> None:
    code = (
        "import sys, disco.app, disco.runtime.tracing as tracing; tracing.configured_tracer({}); "
        "assert not any(name.startswith('opentelemetry') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert isinstance(configured_tracer({}), NoTracer)


def test_an_endpoint_without_the_extra_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"pip install 'disco-server\[otel\]'"):
        configured_tracer({ENDPOINT: "http://127.0.0.1:9"})


def test_an_endpoint_switches_tracing_on() -> None:
    assert isinstance(configured_tracer({ENDPOINT: "http://127.0.0.1:9"}), OpenTelemetry)


async def test_the_contribution_that_closes_a_round_has_its_whole_way_in_one_trace(
    start: ServerFactory,
) -> None:
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    async with start() as server:
        entry = server.app.directory.get("tiny")
        assert entry.training is not None
        assert entry.performer is not None
        tracer = OpenTelemetry(provider.get_tracer("test"))
        entry.training.report_to(entry.journal, tracer, server.app.directory.turn)
        entry.performer.tracer = tracer
        async with v4(server.ws) as first, v4(server.ws) as second:
            await train_round((first, second), 1.0, 0)
    spans = kept.get_finished_spans()
    [last] = [span for span in spans if span.name == "disco.persist"]
    way = {span.name for span in spans if span.context.trace_id == last.context.trace_id}
    assert {
        "disco.contribution", "disco.handle", "disco.fold", "disco.aggregate", "disco.persist", "disco.send",
    } <= way  # fmt: skip
    [root] = [
        span for span in spans if span.parent is None and span.context.trace_id == last.context.trace_id
    ]
    assert root.name == "disco.contribution"
    assert dict(root.attributes or {})["task"] == "tiny"
