"""For whoever runs the server: metrics for Prometheus, and whether it is alive and ready."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import trio
from quart import Blueprint, Response, current_app, jsonify

from disco.core.names import Scheme
from disco.errors import StorageError
from disco.metrics import CONTENT_TYPE, Metrics, Reading
from disco.runtime.directory import Directory, Entry
from disco.storage.files import replacing
from disco.web.sockets import Lobby
from disco.web.standing import judged_figures
from disco.web.tasks import directory

#: Written and removed to find out whether the data directory takes files.
PROBE = "ready.probe"
#: Seconds that the disk may take for it before the server calls itself not ready.
PROBE_SECONDS = 5.0

blueprint = Blueprint("observe", __name__)


class Observed(Protocol):
    """The app, as far as gauges concern it."""

    metrics: Metrics
    lobby: Lobby

    @property
    def directory(self) -> Directory:
        """The tasks that are served."""


@blueprint.get("/metrics")
async def metrics() -> Response:
    """Everything that is counted and measured, in Prometheus's text format."""
    app: Any = current_app
    return Response(app.metrics.exposition(), 200, content_type=CONTENT_TYPE)


@blueprint.get("/healthz")
async def alive() -> Response:
    """Say that the server answers. Restart it when it does not."""
    return jsonify(status="alive")


@blueprint.get("/readyz")
async def ready() -> tuple[Response, int]:
    """Say whether to send participants here: 200, or 503 with what is not as it should be."""
    checks = {"directory": "open", "store": await _store_check(), "tasks": "running"}
    found = directory()
    stopped = [entry.task.id for entry in found if not entry.running and not entry.pause.on]
    if found.bell.closed:
        checks["directory"] = "the server is stopping"
    if stopped:
        checks["tasks"] = f"not running: {', '.join(stopped)}"
    fine = checks == {"directory": "open", "store": "writable", "tasks": "running"}
    return jsonify(status="ready" if fine else "not ready", checks=checks), 200 if fine else 503


async def _store_check() -> str:
    settings = directory().settings
    if not settings.storage.durable:
        return "writable"
    path = settings.data_dir / PROBE

    def probe() -> None:
        with replacing(path) as file:
            file.write(b"ready")
        path.unlink(missing_ok=True)

    try:
        with trio.move_on_after(PROBE_SECONDS) as patience:
            await trio.to_thread.run_sync(probe, abandon_on_cancel=True)
    except (StorageError, OSError) as error:
        return f"not writable: {error}"
    return "writable" if not patience.cancelled_caught else f"writes take longer than {PROBE_SECONDS:g} s"


def watch(app: Observed) -> None:
    """Let an app's metrics read what can be seen at any moment, from now on."""
    app.metrics.watch(lambda: _server_readings(app.lobby))
    app.metrics.watch(lambda: (reading for entry in app.directory for reading in _task_readings(entry)))


def _server_readings(lobby: Lobby) -> Iterator[Reading]:
    yield Reading("connections", lobby.guests, {})
    yield Reading("in_flight_bytes", lobby.budget.taken_bytes, {})
    yield Reading("in_flight_limit_bytes", lobby.budget.limit_bytes, {})
    yield Reading("in_flight_waiting", lobby.budget.waiting, {})


def _task_readings(entry: Entry) -> Iterator[Reading]:
    task = {"task": str(entry.task.id)}
    coordinators = [found for found in (entry.training, entry.hub) if found is not None]
    session, hub = entry.session, entry.hub
    present = {
        Scheme.FEDERATED: len(session.present) if session is not None else 0,
        Scheme.DECENTRALIZED: sum(len(one.peers) for one in hub.sessions.values()) if hub is not None else 0,
    }
    for scheme in entry.task.schemes:
        yield Reading("participants", present[scheme], {**task, "scheme": scheme.value})
    if session is not None:
        yield Reading("round", session.round, task)
        yield Reading("task_ended", bool(session.ended), task)
    if (judged := judged_figures(entry)) is not None:
        for name, value in judged[1].items():
            yield Reading("figure", value, {**task, "figure": name})
    yield Reading("outbox_messages", sum(found.waiting_messages for found in coordinators), task)
    yield Reading("task_running", entry.running, task)
    yield Reading("task_paused", entry.pause.on, task)
