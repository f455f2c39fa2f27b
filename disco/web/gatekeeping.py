"""Which deed each HTTP route is. Every request passes here before its route sees it, and its body is read.

A route that is not listed is for admins: whoever adds one decides, and a test names those who have not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from quart import Blueprint, Quart, Response, current_app, g, jsonify, request

from disco.core.access import Deed
from disco.core.names import TaskID
from disco.core.task import Task
from disco.errors import Unauthenticated
from disco.runtime.directory import Directory
from disco.web.access import Gate

#: Endpoint → deed; None for what tells nothing of any task.
DEEDS: Final[Mapping[str, Deed | None]] = {
    "front": None,
    "access.ticket": None,
    "api.document": None,
    "downloads.export": Deed.READ,
    "downloads.rounds": Deed.LIST,
    "manage.pause": Deed.MANAGE,
    "manage.resume": Deed.MANAGE,
    "manage.roll_back": Deed.MANAGE,
    "observe.alive": None,
    "observe.metrics": Deed.LIST,
    "observe.ready": None,
    "pages.add_page": None,
    "pages.file": None,
    "pages.join_page": None,
    "stream.all_tasks": Deed.LIST,
    "stream.one_task": Deed.LIST,
    "tasks.add_task": Deed.ADD,
    "tasks.change_task": Deed.MANAGE,
    "tasks.list_tasks": Deed.LIST,
    "tasks.model_file": Deed.READ,
    "tasks.remove_task": Deed.MANAGE,
    "tasks.show_task": Deed.LIST,
}

blueprint = Blueprint("access", __name__)


def gate() -> Gate:
    """Return the gate of the app that handles this request."""
    found: Gate = current_app.extensions["disco.gate"]
    return found


def install(app: Quart, guard: Gate) -> None:
    """Put a gate before every route of an app."""
    app.extensions["disco.gate"] = guard
    app.register_blueprint(blueprint)

    @app.before_request
    async def pass_gate() -> None:
        """Let the request pass, or raise what answers it."""
        if request.url_rule is None or request.method == "OPTIONS":
            return  # there is no such route, or a browser asks what it may send (CORS)
        deed = DEEDS.get(request.url_rule.endpoint, Deed.MANAGE)
        if deed is not None:
            name = (request.view_args or {}).get("task")
            g.caller = guard.require(deed, guard.asked(request.scope), _named(app, name), name)


def still_welcome() -> Callable[[], bool]:
    """Return what tells, later on, whether the token of this request is valid still; without one it always is."""
    guard, caller = gate(), g.get("caller")
    return lambda: guard.objection(caller) is None


def _named(app: Quart, name: str | None) -> Task | None:
    directory: Directory = app.extensions["disco.directory"]
    return next((entry.task for entry in directory if entry.task.id == TaskID(name or "")), None)


@blueprint.post("/tickets")
async def ticket() -> Response:
    """Give a ticket for one WebSocket, for browsers: ``?ticket=…`` within seconds, once."""
    guard = gate()
    caller = guard.recognise(guard.asked(request.scope))
    if caller is None:
        raise Unauthenticated("a ticket is given for a token: Authorization: Bearer …")
    answer = jsonify(ticket=guard.tickets.issue(caller), expiresIn=guard.tickets.seconds)
    answer.headers["Cache-Control"] = "no-store"
    return answer
