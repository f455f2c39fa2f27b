"""Rounds of the scored task on a real server, and waiting for their figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from disco.participant import Participant
from tests.access.http import ask
from tests.conftest import Server
from tests.participant.together import exchange_together


async def play(server: Server, *values: float) -> None:
    """Close a round for each value, which becomes the value of the whole model."""
    async with Participant(server.url, "scored") as one, Participant(server.url, "scored") as two:
        for value in values:
            await exchange_together({one: value, two: value})


async def judged(server: Server, number: int, name: str = "evaluation.mean") -> Mapping[str, float]:
    """Wait until a round has a figure, and return all it has."""
    journal = server.app.directory.get("scored").journal
    with trio.fail_after(20):
        while True:
            rung = journal.bell.rung
            for record in journal.rounds:
                if record.number == number and name in record.figures:
                    return record.figures
            await journal.bell.changed(rung)


async def troubled(server: Server) -> str:
    """Wait until something is wrong with the scorer, and return what."""
    entry = server.app.directory.get("scored")
    with trio.fail_after(20):
        while not entry.evaluation_trouble:
            await entry.journal.bell.changed(entry.journal.bell.rung)
    return entry.evaluation_trouble


async def ended(server: Server) -> str:
    """Wait until the training has ended, and return why."""
    entry = server.app.directory.get("scored")
    with trio.fail_after(20):
        while not entry.ended:
            await entry.journal.bell.changed(entry.journal.bell.rung)
    return entry.ended


async def counted(server: Server) -> None:
    """Wait until the open round has a contribution."""
    entry = server.app.directory.get("scored")
    with trio.fail_after(20):
        while entry.session is None or not entry.session.contributors:
            await entry.journal.bell.changed(entry.journal.bell.rung)


async def state(server: Server) -> Mapping[str, Any]:
    """What GET /tasks/scored says of the task's state."""
    found: Mapping[str, Any] = (await ask(server.url + "/tasks/scored")).json["state"]
    return found


async def rounds(server: Server) -> Mapping[str, Any]:
    """What GET /tasks/scored/rounds says."""
    found: Mapping[str, Any] = (await ask(server.url + "/tasks/scored/rounds")).json
    return found


async def figures(server: Server) -> Mapping[int, Mapping[str, float]]:
    """Each round's figures."""
    return {round_["round"]: round_["figures"] for round_ in (await rounds(server))["rounds"]}
