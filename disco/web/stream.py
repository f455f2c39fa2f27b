"""What happens now, as server-sent events: all tasks in short, or one in full.

An event carries the whole state, so a viewer that missed some is right again with the next. Whoever reads slowly gets
fewer events, not older ones.

Source: HTML Living Standard, server-sent events.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import trio
from quart import Blueprint, Response, current_app

from disco.errors import TooMany
from disco.runtime.directory import Entry
from disco.runtime.journal import Bell
from disco.web.gatekeeping import still_welcome
from disco.web.standing import names, standing
from disco.web.tasks import directory

#: Seconds between two events at least, and without any event before a comment that keeps proxies from closing.
PACE, HEARTBEAT = 0.25, 15.0

blueprint = Blueprint("stream", __name__)


class Viewers:
    """Counts the streams that are open, up to a limit."""

    def __init__(self, limit: int) -> None:
        """Allow so many at once."""
        self.limit = limit
        self.count = 0

    def require_room(self) -> None:
        """Check that there is a place.

        Raises:
            TooMany: none is left.
        """
        if self.count >= self.limit:
            raise TooMany(f"more than limits.viewers, {self.limit}, watch already; try again later")

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for as long as the block lasts."""
        self.count += 1
        try:
            yield
        finally:
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
    """Answer with what `read` returns, now and after each ring of the bell, until either side closes.

    A token that is not valid any more ends it within `HEARTBEAT`.
    """
    welcome = still_welcome()
    watching.require_room()

    async def events() -> AsyncIterator[bytes]:
        # The place is taken here, as of a viewer who has left by now nobody would hear that it is free again.
        with watching.place():
            yield b"retry: 2000\n\n"
            last = b""
            while not bell.closed and welcome():
                rung = bell.rung
                state = b"event: state\ndata: " + json.dumps(read()).encode() + b"\n\n"
                yield state if state != last else b": nothing new\n\n"
                last = state
                await trio.sleep(PACE)
                with trio.move_on_after(HEARTBEAT):
                    await bell.changed(rung)

    answer = Response(events(), 200, content_type="text/event-stream; charset=utf-8")
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    answer.timeout = None
    return answer


def brief(entry: Entry) -> dict[str, Any]:
    """A task's state in short."""
    latest = entry.journal.rounds[-1] if entry.journal.rounds else None
    return {
        "id": entry.task.id,
        **standing(entry),
        "closedAt": latest.closed_at if latest is not None and latest.number else None,
        "paused": entry.pause.on,
        "running": entry.running,
    }


def full(entry: Entry) -> dict[str, Any]:
    """A task's state with short names of who is present, who has contributed, and what was refused."""
    refusals = [asdict(refusal) for refusal in reversed(entry.journal.refusals)]
    return {**brief(entry), **names(entry), "refusals": refusals}
