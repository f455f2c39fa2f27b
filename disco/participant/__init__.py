"""Python participants: contribute to a federated task, or train with other peers, from any framework.

    async with Participant("http://127.0.0.1:8080", "titanic") as participant:
        weights = await participant.exchange(train(participant.weights))

`Participant` and `Peer` are for Trio; `BlockingParticipant` is for scripts and notebooks. Weights are lists of
numpy float32 arrays in the model's order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from disco.errors import TrainingEnded
from disco.participant.blocking import BlockingParticipant
from disco.participant.federated import Participant
from disco.participant.local_privacy import ClippedNoise, LocalPrivacy, PrivacyBudget
from disco.participant.standing import News, NewsKind

if TYPE_CHECKING:
    from disco.participant.peer import Peer

__all__ = [
    "BlockingParticipant",
    "ClippedNoise",
    "LocalPrivacy",
    "News",
    "NewsKind",
    "Participant",
    "Peer",
    "PrivacyBudget",
    "TrainingEnded",
]


def __getattr__(name: str) -> Any:
    """Import `Peer` when it is asked for: WebRTC is an extra that federated participants do without."""
    if name == "Peer":
        from disco.participant.peer import Peer

        return Peer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
