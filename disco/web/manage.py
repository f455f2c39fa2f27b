"""What an admin does to a task that runs: pause it, let it go on, roll it back. Who is one, `gatekeeping` decides."""

from __future__ import annotations

import json

from quart import Blueprint, Response, jsonify, request

from disco.errors import InvalidTask, Problem
from disco.web.tasks import directory

BODY_BYTES = 1024

blueprint = Blueprint("manage", __name__)


@blueprint.post("/tasks/<task>/pause")
async def pause(task: str) -> Response:
    """Stop a task's training until it is resumed; its participants are let go, with the reason."""
    await directory().pause(task)
    return jsonify(task=task, paused=True)


@blueprint.post("/tasks/<task>/resume")
async def resume(task: str) -> Response:
    """Let a paused task go on from its newest round."""
    await directory().resume(task)
    return jsonify(task=task, paused=False)


@blueprint.post("/tasks/<task>/rollback")
async def roll_back(task: str) -> Response:
    """Make an earlier round's model the newest, as a new round: ``{"round": N}``."""
    number = _read_round(await request.get_data(as_text=False))
    made = await directory().roll_back(task, number)
    return jsonify(task=task, round=made, restored=number)


def _read_round(body: bytes | str) -> int:
    try:
        number = json.loads(body)["round"] if len(body) <= BODY_BYTES else None
    except (ValueError, TypeError, KeyError, RecursionError):
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise InvalidTask([Problem("round", "must be the number of a round on disk")])
    return number
