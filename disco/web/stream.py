"""What happens now, as server-sent events: all tasks in short, or one in full.

An event carries the whole state, so a viewer that missed some is right again with the next. Whoever reads slowly gets
fewer events, not older ones.

Source: HTML Living Standard, server-sent events.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from typing import Any

import trio
from quart import Blueprint, Response, current_app

from disco.core.events import ParticipantID, Scheme
from disco.errors import TooMany
from disco.runtime.directory import Entry
from disco.runtime.journal import Bell
from disco.web.tasks import directory

#: Seconds between two events at least, and without any event before a comment that keeps proxies from closing.
PACE, HEARTBEAT = 0.25, 15.0
#: Participants that are named; beyond these there is only their number.
NAMED = 100

blueprint = Blueprint("stream", __name__)


class Viewers:
    """Counts the streams that are open, up to a limit."""

    def __init__(self, limit: int) -> None:
        """Allow so many at once."""
        self.limit = limit
        self.count = 0

    def enter(self) -> None:
        """Take a place.

        Raises:
            TooMany: none is left.
        """
        if self.count >= self.limit:
            raise TooMany(f"more than limits.viewers, {self.limit}, watch already; try again later")
        self.count += 1

    def leave(self) -> None:
        """Give the place back."""
        self.count -= 1


@blueprint.get("/events")
async def all_tasks() -> Response:
    """Every task in short, again whenever one changes."""
    found = directory()
    return stream(viewers(), found.bell, lambda: [brief(entry) for entry in found])


@blueprint.get("/tasks/<task>/events")
async def one_task(task: str) -> Response:
    """One task in full, again whenever it changes."""
    entry = directory().get(task)
    return stream(viewers(), entry.journal.bell, lambda: full(entry))


def viewers() -> Viewers:
    """Return who watches the app that handles this request."""
    found: Viewers = current_app.extensions["disco.viewers"]
    return found


def stream(watching: Viewers, bell: Bell, read: Callable[[], Any]) -> Response:
    """Answer with what `read` returns, now and after each ring of the bell, until either side closes."""
    watching.enter()

    async def events() -> AsyncIterator[bytes]:
        try:
            yield b"retry: 2000\n\n"
            last = b""
            while not bell.closed:
                rung = bell.rung
                state = b"event: state\ndata: " + json.dumps(read()).encode() + b"\n\n"
                yield state if state != last else b": nothing new\n\n"
                last = state
                await trio.sleep(PACE)
                with trio.move_on_after(HEARTBEAT):
                    await bell.changed(rung)
        finally:
            watching.leave()

    answer = Response(events(), 200, content_type="text/event-stream; charset=utf-8")
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    answer.timeout = None
    return answer


def brief(entry: Entry) -> dict[str, Any]:
    """A task's state in short."""
    session = entry.session
    latest = entry.journal.rounds[-1] if entry.journal.rounds else None
    return {
        "id": entry.task.id,
        "round": session.round if session is not None else latest.number if latest is not None else 0,
        "participants": len(session.present) if session is not None else 0,
        "contributions": len(session.contributors) if session is not None else 0,
        "minimum": entry.task.minimum_participants[Scheme.FEDERATED],
        "peers": sum(len(hub.peers) for hub in entry.hub.sessions.values()) if entry.hub is not None else 0,
        "closedAt": latest.closed_at if latest is not None and latest.number else None,
        "paused": entry.pause.on,
        "running": entry.running,
    }


def full(entry: Entry) -> dict[str, Any]:
    """A task's state with short names of who is present, who has contributed, and what was refused."""
    session, hub = entry.session, entry.hub
    hubs = [
        {"dialect": dialect, "round": one.round, "present": short(one.peers), "count": len(one.peers)}
        for dialect, one in (hub.sessions.items() if hub is not None else ())
    ]
    return {
        **brief(entry),
        "present": short(session.present) if session is not None else [],
        "contributors": short(session.contributors) if session is not None else [],
        "hubs": hubs,
        "refusals": [asdict(refusal) for refusal in reversed(entry.journal.refusals)],
    }


def short(participants: Sequence[ParticipantID]) -> list[str]:
    """Return the first characters of the first participants' IDs."""
    return [participant[:8] for participant in participants[:NAMED]]
