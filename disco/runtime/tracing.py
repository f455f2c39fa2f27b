"""Spans of one contribution's way through the server, for OpenTelemetry; nothing at all unless that is configured.

    disco.contribution            from its submission to the end of its handling
    ├─ disco.fold                 into the running total
    ├─ disco.aggregate            the one that closes a round
    ├─ disco.persist
    └─ disco.send                 encoded and queued

Neither weights nor addresses are in a span; a participant is 8 characters of its ID.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeAlias

from disco.errors import SettingsError

#: What switches tracing on. Source: OpenTelemetry specification, OTLP exporter configuration.
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"

Attributes: TypeAlias = Mapping[str, str | int]


class Tracer(Protocol):
    """Opens spans. What a block opens while it runs in one task are its span's children."""

    def span(self, name: str, attributes: Attributes, parent: Any = None) -> AbstractContextManager[Any]:
        """Open a span for a block; `parent` is a span of another task, as its own block got it."""


class NoTracer:
    """Opens nothing."""

    _nothing: AbstractContextManager[Any] = nullcontext()

    def span(self, name: str, attributes: Attributes, parent: Any = None) -> AbstractContextManager[Any]:
        """See `Tracer.span`."""
        return self._nothing


class OpenTelemetry:
    """Opens spans of an OpenTelemetry tracer."""

    def __init__(self, tracer: Any) -> None:
        """Wrap an ``opentelemetry.trace.Tracer``."""
        from opentelemetry import trace

        self._tracer = tracer
        self._trace = trace

    def span(self, name: str, attributes: Attributes, parent: Any = None) -> AbstractContextManager[Any]:
        """See `Tracer.span`."""
        context = self._trace.set_span_in_context(parent) if parent is not None else None
        opened: AbstractContextManager[Any] = self._tracer.start_as_current_span(
            name, context=context, attributes=dict(attributes)
        )
        return opened


def configured_tracer(environ: Mapping[str, str] | None = None) -> Tracer:
    """Return a tracer that exports to the endpoint in the environment; one that does nothing if there is none.

    Raises:
        SettingsError: there is an endpoint, but the extra ``otel`` is not installed.
    """
    if not (os.environ if environ is None else environ).get(ENDPOINT):
        return NoTracer()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(f"{ENDPOINT} needs the extra otel: pip install 'disco-server[otel]'") from error
    provider = TracerProvider(resource=Resource.create({"service.name": "disco"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OpenTelemetry(provider.get_tracer("disco"))
