"""Where a task's training stands now, in numbers: what its JSON, its events and ``disco watch`` show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from disco.core.decentralized import DecentralizedSession
from disco.core.evaluation import EVALUATION, PARTICIPANTS
from disco.core.names import ParticipantID, Scheme
from disco.runtime.directory import Entry

#: Participants that are named; beyond these there is only their number.
NAMED = 100


def standing(entry: Entry) -> dict[str, Any]:
    """Count who takes part in a task, in both schemes.

    ``minimum`` and ``peerMinimum`` are how many make a round of either scheme. ``peerRound`` is the highest of the
    task's hubs: peers of different generations never meet, so each generation counts rounds of its own.
    """
    session, minimum = entry.session, entry.task.minimum_participants
    latest = entry.journal.rounds[-1].number if entry.journal.rounds else 0  # while no session runs
    sessions, condition = hubs(entry).values(), entry.condition
    return {
        "round": session.round if session is not None else latest,
        "participants": len(session.present) if session is not None else 0,
        "contributions": len(session.contributors) if session is not None else 0,
        "minimum": minimum[Scheme.FEDERATED],
        "peers": sum(len(hub.peers) for hub in sessions),
        "readyPeers": sum(len(hub.ready) for hub in sessions),
        "peerRound": max((hub.round for hub in sessions), default=0),
        "peerMinimum": minimum[Scheme.DECENTRALIZED],
        "state": condition.state,
        "reason": condition.reason,
        "best": entry.best,
        "evaluation": evaluation(entry),
    }


def evaluation(entry: Entry) -> dict[str, Any]:
    """Return the newest figures of a scorer or of participants with their round, and what is wrong with the scorer."""
    judged = judged_figures(entry)
    number, figures = judged if judged is not None else (None, {})
    return {"round": number, "figures": figures, "trouble": entry.evaluation_trouble}


def judged_figures(entry: Entry) -> tuple[int, dict[str, float]] | None:
    """Return the newest round that a scorer or participants judged, and their figures."""
    for record in reversed(entry.journal.rounds):
        judged = {
            name: it for name, it in record.figures.items() if name.startswith((EVALUATION, PARTICIPANTS))
        }
        if judged:
            return record.number, judged
    return None


def hubs(entry: Entry) -> Mapping[str, DecentralizedSession]:
    """Return a task's decentralized sessions by the dialect that their peers speak."""
    return entry.hub.sessions if entry.hub is not None else {}


def names(entry: Entry) -> dict[str, Any]:
    """Name who is present by short IDs, who of them has contributed, and who of each hub's peers is ready."""
    session = entry.session
    return {
        "present": short(session.present) if session is not None else [],
        "contributors": short(session.contributors) if session is not None else [],
        "hubs": [
            {
                "dialect": dialect,
                "round": hub.round,
                "present": short(hub.peers),
                "ready": short(hub.ready),
                "count": len(hub.peers),
            }
            for dialect, hub in hubs(entry).items()
        ],
    }


def short(participants: Sequence[ParticipantID]) -> list[str]:
    """Return the first characters of the first participants' IDs."""
    return [participant[:8] for participant in participants[:NAMED]]
