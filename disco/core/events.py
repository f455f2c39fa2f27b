"""What happens to a session: everything that goes into its `handle`, in the past tense.

One vocabulary for both schemes and every dialect: events go in, effects (`disco.core.effects`) come out, and messages
(`disco.core.messages`) travel inside `Send`. Dialects (`disco.wire`) translate bytes to events and messages to bytes;
the runtime performs effects. All are frozen and none has behaviour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from disco.core.masking.words import MaskedEvent
from disco.core.names import ParticipantID
from disco.core.weights import Weights

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
    identity: ParticipantID | None = None


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
