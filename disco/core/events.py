"""What happens to a session: everything that goes into its `handle`, in the past tense.

One vocabulary for both schemes and every dialect: events go in, effects (`disco.core.effects`) come out, and messages
(`disco.core.messages`) travel inside `Send`. Dialects (`disco.wire`) translate bytes to events and messages to bytes;
the runtime performs effects. All are frozen and none has behaviour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from disco.core.masking.words import MaskedEvent
from disco.core.names import ParticipantID
from disco.core.weights import Weights

# ── Events: from participants ────────────────────────────────────────────────────────────────────────────


class Joined(Struct, frozen=True):
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


class Left(Struct, frozen=True):
    """The last connection of a participant is gone."""

    participant: ParticipantID


class Contributed(Struct, frozen=True):
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


class Misdelivered(Struct, frozen=True):
    """A contribution arrived whose weights cannot be read; `reason` names the field."""

    participant: ParticipantID
    reason: str


class ModelRequested(Struct, frozen=True):
    """A participant asks for the latest global model (v2)."""

    participant: ParticipantID


class StatisticsRequested(Struct, frozen=True):
    """A participant asks for the session's statistics (v2)."""

    participant: ParticipantID


class MetadataPosted(Struct, frozen=True):
    """A participant leaves a value under a name for the others of this round (v2)."""

    participant: ParticipantID
    round: int
    name: str
    value: str


class MetadataRequested(Struct, frozen=True):
    """A participant asks for everybody's values under a name (v2)."""

    participant: ParticipantID
    round: int
    name: str


class RoundJoined(Struct, frozen=True):
    """A peer starts its local training and wants to be in the next round (v3, v4)."""

    participant: ParticipantID


class BecameReady(Struct, frozen=True):
    """A peer has trained and waits for the others of its round."""

    participant: ParticipantID


class Signalled(Struct, frozen=True):
    """A peer sends connection data to another. `signal` is raw msgpack, carried unopened."""

    participant: ParticipantID
    to: ParticipantID
    signal: bytes


class ConnectionsEstablished(Struct, frozen=True):
    """A peer is connected to every other peer of its round (v4)."""

    participant: ParticipantID


class ModelSyncRequested(Struct, frozen=True):
    """A peer that joined while others train asks for a peer to get the model from (v4)."""

    participant: ParticipantID


# ── Events: from the runtime, answering an effect ────────────────────────────────────────────────────────


class Folded(Struct, frozen=True):
    """`Fold` succeeded: the update is in the running total."""

    contribution: Contributed


class FoldRefused(Struct, frozen=True):
    """`Fold` found an update that cannot be aggregated; the running total is untouched."""

    contribution: Contributed
    reason: str


class Aggregated(Struct, frozen=True):
    """`Aggregate` succeeded: the new global model is durable.

    Args:
        round: the new current round.
        ended: a sentence that says why, if the training has ended with it.
    """

    round: int
    weights: Weights
    ended: str = ""


class Restored(Struct, frozen=True):
    """An operator made an earlier model current again, as a round of its own; it is durable.

    What was contributed to the round that was open is dropped. A training that had ended goes on.

    Args:
        round: the new current round.
        ended: a sentence that says why, if the training is at its end all the same.
    """

    round: int
    weights: Weights
    ended: str = ""


class AggregationFailed(Struct, frozen=True):
    """`Aggregate` failed, in the strategy or on disk. The contributions are kept; `reason` says why."""

    reason: str


class Ended(Struct, frozen=True):
    """The training has ended, though no round has closed now; `reason` is a sentence that says why.

    What was contributed to the round that was open does not count.
    """

    reason: str


class Ticked(Struct, frozen=True):
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
