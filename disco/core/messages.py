"""What a session says to participants: nouns that travel inside `Send`, whatever a dialect makes of them.

The dialects of v2, v3 and v4 each have words for some of them (`disco.wire`). All are frozen and none has behaviour.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from disco.core.masking.words import MaskedMessage
from disco.core.names import ParticipantID, TaskID
from disco.core.weights import Weights


class Outcome(StrEnum):
    """What became of a contribution.

    *Accepted*: it counts in its round. *Discarded*: well-formed, but late, early, repeated, or from someone
    who has not joined. *Rejected*: malformed, of another structure, or not finite.
    """

    ACCEPTED = "accepted"
    DISCARDED = "discarded"
    REJECTED = "rejected"


class Welcome(Struct, frozen=True):
    """Answers `Joined` in a federated session.

    Args:
        participant: the receiver's own ID.
        round: the current round.
        weights: the latest global model.
        waiting: whether the session waits for more participants, the receiver included in the count.
        participants: how many are present, the receiver included.
        ended: why the training has ended, if it has; the model is its last one.
    """

    participant: ParticipantID
    round: int
    weights: Weights
    waiting: bool
    participants: int
    ended: str = ""


class GlobalModel(Struct, frozen=True):
    """The latest global model.

    Args:
        pushed: sent because a round closed, not because the receiver asked or was refused. A dialect whose
            clients ask (v2) has no word for a push.
    """

    round: int
    weights: Weights
    participants: int
    pushed: bool


class Verdict(Struct, frozen=True):
    """What became of the receiver's contribution for `round`, for clients that asked to be told."""

    round: int
    outcome: Outcome
    reason: str
    key: str | None = None


class TrainingEnded(Struct, frozen=True):
    """The training has ended with the model of `round`, for clients that asked to be told.

    Args:
        reason: a sentence that says why; empty: it goes on again.
    """

    round: int
    reason: str


class WaitingForMore(Struct, frozen=True):
    """Too few participants now; training stops until there are enough."""

    participants: int


class Enough(Struct, frozen=True):
    """There are enough participants again."""

    participants: int


class ParticipantsChanged(Struct, frozen=True):
    """Somebody joined or left, and there still are (or still are not) enough."""

    participants: int


class Statistics(Struct, frozen=True):
    """The session in numbers (v2).

    Args:
        round: the current round.
        present: participants connected now.
        total: contributions over all rounds.
        average: contributions a round; 0 before the first.
    """

    round: int
    present: int
    total: int
    average: float


class Metadata(Struct, frozen=True):
    """Everybody's values under a name (v2): pairs of participant and value."""

    task: TaskID
    participant: ParticipantID
    round: int
    name: str
    entries: tuple[tuple[ParticipantID, str], ...]


class PeerWelcome(Struct, frozen=True):
    """Answers `Joined` in a decentralized session; the receiver's own ID and what it finds."""

    participant: ParticipantID
    waiting: bool
    participants: int
    mid_training: bool


class PeersForRound(Struct, frozen=True):
    """The other peers of the receiver's round.

    Args:
        participants: how many are present, in the round or not; 0 where the dialect does not say.
    """

    peers: tuple[ParticipantID, ...]
    round: int
    participants: int = 0


class Signal(Struct, frozen=True):
    """Connection data from another peer; `signal` is raw msgpack, carried unopened."""

    sender: ParticipantID
    signal: bytes


class StartSharing(Struct, frozen=True):
    """Every peer of the round is connected: exchange updates now (v4)."""


class RetryConnections(Struct, frozen=True):
    """Connecting took too long: try again (v4)."""


class ConnectionsFailed(Struct, frozen=True):
    """The receiver is out of this round: it could not be connected (v4)."""


class ModelProvider(Struct, frozen=True):
    """Who will send the receiver the model (v4)."""

    provider: ParticipantID


class ModelWanted(Struct, frozen=True):
    """Whom the receiver is asked to send its model (v4)."""

    newcomer: ParticipantID


FederatedMessage: TypeAlias = (
    Welcome
    | GlobalModel
    | Verdict
    | TrainingEnded
    | WaitingForMore
    | Enough
    | ParticipantsChanged
    | Statistics
    | Metadata
)
DecentralizedMessage: TypeAlias = (
    PeerWelcome
    | PeersForRound
    | Signal
    | StartSharing
    | RetryConnections
    | ConnectionsFailed
    | ModelProvider
    | ModelWanted
    | WaitingForMore
    | Enough
    | ParticipantsChanged
)
Message: TypeAlias = FederatedMessage | DecentralizedMessage | MaskedMessage
