"""What happens to a session, what it wants done, and what it has to say.

One vocabulary for both schemes and every dialect: *events* are past tense and go in, *effects* are
imperative and come out, *messages* are nouns and travel inside `Send`. Dialects (`disco.wire`) translate bytes
to events and messages to bytes; the runtime performs effects. All are frozen and none has behaviour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from disco.core.masking.words import MaskedEffect, MaskedEvent
from disco.core.masking.words import MaskedMessage as MaskedMessage
from disco.core.names import ParticipantID as ParticipantID
from disco.core.names import TaskID as TaskID
from disco.core.weights import Weights


class Scheme(StrEnum):
    """The two ways of learning together."""

    FEDERATED = "federated"
    DECENTRALIZED = "decentralized"


class Outcome(StrEnum):
    """What became of a contribution.

    *Accepted*: it counts in its round. *Discarded*: well-formed, but late, early, repeated, or from someone
    who has not joined. *Rejected*: malformed, of another structure, or not finite.
    """

    ACCEPTED = "accepted"
    DISCARDED = "discarded"
    REJECTED = "rejected"


# ── Events: from participants ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Joined:
    """A participant said hello. From one who is already present it is a retry.

    Args:
        pushed: whether this participant is sent the global model when a round closes (v3, v4), or asks
            for it (v2).
        identity: the ID that it had on an earlier connection, as claimed; None from clients that have no such
            thing.
    """

    participant: ParticipantID
    pushed: bool = True
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """The last connection of a participant is gone."""

    participant: ParticipantID


@dataclass(frozen=True, slots=True)
class Contributed:
    """A participant sent its update for a round.

    Args:
        round: the round it believes in.
        update: its weights, views into the message.
        key: what makes a contribution that is sent again the same one; None from clients that have no such thing.
        samples: how many examples it was trained on, as claimed; None where the dialect cannot say.
        metrics: the participant's own figures, by name; empty where the dialect cannot say.
    """

    participant: ParticipantID
    round: int
    update: Weights
    key: str | None = None
    samples: float | None = None
    metrics: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Misdelivered:
    """A contribution arrived whose weights cannot be read; `reason` names the field."""

    participant: ParticipantID
    reason: str


@dataclass(frozen=True, slots=True)
class ModelRequested:
    """A participant asks for the latest global model (v2)."""

    participant: ParticipantID


@dataclass(frozen=True, slots=True)
class StatisticsRequested:
    """A participant asks for the session's statistics (v2)."""

    participant: ParticipantID


@dataclass(frozen=True, slots=True)
class MetadataPosted:
    """A participant leaves a value under a name for the others of this round (v2)."""

    participant: ParticipantID
    round: int
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class MetadataRequested:
    """A participant asks for everybody's values under a name (v2)."""

    participant: ParticipantID
    round: int
    name: str


@dataclass(frozen=True, slots=True)
class RoundJoined:
    """A peer starts its local training and wants to be in the next round (v3, v4)."""

    participant: ParticipantID


@dataclass(frozen=True, slots=True)
class BecameReady:
    """A peer has trained and waits for the others of its round."""

    participant: ParticipantID


@dataclass(frozen=True, slots=True)
class Signalled:
    """A peer sends connection data to another. `signal` is raw msgpack, carried unopened."""

    participant: ParticipantID
    to: ParticipantID
    signal: bytes


@dataclass(frozen=True, slots=True)
class ConnectionsEstablished:
    """A peer is connected to every other peer of its round (v4)."""

    participant: ParticipantID


@dataclass(frozen=True, slots=True)
class ModelSyncRequested:
    """A peer that joined while others train asks for a peer to get the model from (v4)."""

    participant: ParticipantID


# ── Events: from the runtime, answering an effect ────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Folded:
    """`Fold` succeeded: the update is in the running total."""

    contribution: Contributed


@dataclass(frozen=True, slots=True)
class FoldRefused:
    """`Fold` found an update that cannot be aggregated; the running total is untouched."""

    contribution: Contributed
    reason: str


@dataclass(frozen=True, slots=True)
class Aggregated:
    """`Aggregate` succeeded: the new global model is durable.

    Args:
        round: the new current round.
        ended: a sentence that says why, if the training has ended with it.
    """

    round: int
    weights: Weights
    ended: str = ""


@dataclass(frozen=True, slots=True)
class Restored:
    """An operator made an earlier model current again, as a round of its own; it is durable.

    What was contributed to the round that was open is dropped. A training that had ended goes on.

    Args:
        round: the new current round.
        ended: a sentence that says why, if the training is at its end all the same.
    """

    round: int
    weights: Weights
    ended: str = ""


@dataclass(frozen=True, slots=True)
class AggregationFailed:
    """`Aggregate` failed, in the strategy or on disk. The contributions are kept; `reason` says why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The training has ended, though no round has closed now; `reason` is a sentence that says why.

    What was contributed to the round that was open does not count.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Ticked:
    """The session's deadline has come."""


FederatedEvent: TypeAlias = (
    Joined
    | Left
    | Contributed
    | Misdelivered
    | ModelRequested
    | StatisticsRequested
    | MetadataPosted
    | MetadataRequested
    | Folded
    | FoldRefused
    | Aggregated
    | Restored
    | AggregationFailed
    | Ended
    | Ticked
)
DecentralizedEvent: TypeAlias = (
    Joined
    | Left
    | RoundJoined
    | BecameReady
    | Signalled
    | ConnectionsEstablished
    | ModelSyncRequested
    | Ticked
)
Event: TypeAlias = FederatedEvent | DecentralizedEvent | MaskedEvent


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Welcome:
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


@dataclass(frozen=True, slots=True)
class GlobalModel:
    """The latest global model.

    Args:
        pushed: sent because a round closed, not because the receiver asked or was refused. A dialect whose
            clients ask (v2) has no word for a push.
    """

    round: int
    weights: Weights
    participants: int
    pushed: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the receiver's contribution for `round`, for clients that asked to be told."""

    round: int
    outcome: Outcome
    reason: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class TrainingEnded:
    """The training has ended with the model of `round`, for clients that asked to be told.

    Args:
        reason: a sentence that says why; empty: it goes on again.
    """

    round: int
    reason: str


@dataclass(frozen=True, slots=True)
class WaitingForMore:
    """Too few participants now; training stops until there are enough."""

    participants: int


@dataclass(frozen=True, slots=True)
class Enough:
    """There are enough participants again."""

    participants: int


@dataclass(frozen=True, slots=True)
class ParticipantsChanged:
    """Somebody joined or left, and there still are (or still are not) enough."""

    participants: int


@dataclass(frozen=True, slots=True)
class Statistics:
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


@dataclass(frozen=True, slots=True)
class Metadata:
    """Everybody's values under a name (v2): pairs of participant and value."""

    task: TaskID
    participant: ParticipantID
    round: int
    name: str
    entries: tuple[tuple[ParticipantID, str], ...]


@dataclass(frozen=True, slots=True)
class PeerWelcome:
    """Answers `Joined` in a decentralized session; the receiver's own ID and what it finds."""

    participant: ParticipantID
    waiting: bool
    participants: int
    mid_training: bool


@dataclass(frozen=True, slots=True)
class PeersForRound:
    """The other peers of the receiver's round.

    Args:
        participants: how many are present, in the round or not; 0 where the dialect does not say.
    """

    peers: tuple[ParticipantID, ...]
    round: int
    participants: int = 0


@dataclass(frozen=True, slots=True)
class Signal:
    """Connection data from another peer; `signal` is raw msgpack, carried unopened."""

    sender: ParticipantID
    signal: bytes


@dataclass(frozen=True, slots=True)
class StartSharing:
    """Every peer of the round is connected: exchange updates now (v4)."""


@dataclass(frozen=True, slots=True)
class RetryConnections:
    """Connecting took too long: try again (v4)."""


@dataclass(frozen=True, slots=True)
class ConnectionsFailed:
    """The receiver is out of this round: it could not be connected (v4)."""


@dataclass(frozen=True, slots=True)
class ModelProvider:
    """Who will send the receiver the model (v4)."""

    provider: ParticipantID


@dataclass(frozen=True, slots=True)
class ModelWanted:
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


# ── Effects ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Send:
    """Send one message to each of `to`; whoever has left meanwhile is passed over."""

    to: tuple[ParticipantID, ...]
    message: Message


@dataclass(frozen=True, slots=True)
class Record:
    """Count and log what became of a contribution or signal, with the reason if it was not accepted."""

    participant: ParticipantID
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Fold:
    """Check an update's values and add it to the running total. Answered by `Folded` or `FoldRefused`."""

    contribution: Contributed


@dataclass(frozen=True, slots=True)
class RoundFigures:
    """A closed round in numbers.

    Args:
        number: the round that the new global model begins.
        participants: present when it closed.
        contributions: summed in it.
        seconds: from its first contribution to its closing.
    """

    number: int
    participants: int
    contributions: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Close the round: finish the total, make the result durable. Answered by `Aggregated` or `AggregationFailed`.

    Args:
        keys: of the contributions in it that have one; durable with it, so that none counts twice.
        since: the oldest round whose keys are still needed.
    """

    figures: RoundFigures
    keys: tuple[str, ...] = ()
    since: int = 0


@dataclass(frozen=True, slots=True)
class Reset:
    """Forget the training: the initial model is current again, at round 0, on disk too."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close every connection of a participant with a code and a reason (RFC 6455, section 7.4)."""

    participant: ParticipantID
    code: int
    reason: str


Effect: TypeAlias = Send | Record | Fold | Aggregate | Reset | Disconnect | MaskedEffect
