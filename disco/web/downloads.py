"""A task's rounds as JSON, and a round's model as a file for other programs."""

from __future__ import annotations

import json

import trio
from quart import Blueprint, Response, request

from disco.errors import InvalidTask, Problem, SettingsError, Unavailable, UnknownRound
from disco.storage.contract import RoundRecord
from disco.storage.export import to_npz, to_safetensors
from disco.web.tasks import conditional, directory

WRITERS = {"npz": to_npz, "safetensors": to_safetensors}

#: What stands for the number of the best round.
BEST = "best"

blueprint = Blueprint("downloads", __name__)


@blueprint.get("/tasks/<task>/rounds")
async def rounds(task: str) -> Response:
    """The figures of all rounds that are remembered, which have their weights on disk, and which is the best."""
    found = directory()
    entry = found.get(task)
    kept = await found.rounds(task)
    known = {record.number: record for record in (*entry.journal.rounds, *kept)}
    on_disk = {record.number for record in kept}
    listed = [_figures(known[number], number in on_disk) for number in sorted(known)]
    answer = {"task": entry.task.id, "rounds": listed, "best": entry.best, "ended": entry.ended}
    return conditional(json.dumps(answer).encode(), "application/json")


@blueprint.get("/tasks/<task>/export")
async def export(task: str) -> Response:
    """A round's model as ``?format=npz`` or ``safetensors``; the newest unless ``?round=`` names one, or ``best``."""
    form, number = request.args.get("format", "npz"), request.args.get("round", "")
    problems = []
    if form not in WRITERS:
        problems.append(Problem("format", f"must be npz or safetensors, not {form[:32]!r}"))
    if number and number != BEST and not (number.isascii() and number.isdecimal() and len(number) < 10):
        problems.append(Problem("round", f"must be the number of a round, or best, not {number[:32]!r}"))
    if problems:
        raise InvalidTask(problems)
    found = directory()
    entry = found.get(task)
    if number == BEST:
        if entry.best is None:
            raise UnknownRound(
                f"the task {task!r} has no best round: evaluation.keepBest says by which figure"
            )
        number = str(entry.best)
    if number:
        chosen, weights = int(number), await found.round_weights(task, int(number))
    else:
        served = entry.served()
        chosen, weights = served.round, served.weights
    try:
        body = await trio.to_thread.run_sync(WRITERS[form], weights, entry.model)
    except SettingsError as error:
        raise Unavailable(f"this server cannot write it: {error}") from error
    answer = Response(body, 200, content_type="application/octet-stream")
    answer.headers["Content-Disposition"] = f'attachment; filename="{entry.task.id}-round-{chosen}.{form}"'
    answer.headers["X-Disco-Round"] = str(chosen)
    return answer


def _figures(record: RoundRecord, on_disk: bool) -> dict[str, object]:
    return {
        "round": record.number,
        "closedAt": record.closed_at,
        "participants": record.participants,
        "contributions": record.contributions,
        "seconds": record.seconds,
        "figures": dict(record.figures),
        "onDisk": on_disk,
    }
