"""The messages of DISCO's wire of today, as they are: a class's name is the message's type.

Source: DISCO v4 wire, discojs of 2026.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Raw

from disco.core.messages import Outcome
from disco.wire.envelope import ABSENT, Count, Identifier, Identities, Identity, Word

# ── Messages of a client ─────────────────────────────────────────────────────────────────────────────────
# JavaScript's `undefined` arrives as nil, so what is optional may be nil.


class ClientConnected(Word):
    """Hello."""

    extensions: Annotated[list[Identifier], Meta(max_length=16)] | None = None
    participant: Identity | None = None


class SendPayload(Word):
    """An update."""

    round: Count
    payload: Raw = ABSENT
    key: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    samples: float | None = None
    metrics: Annotated[dict[Identifier, float], Meta(max_length=64)] | None = None


class JoinRound(Word):
    """A peer starts its local training."""


class PeerIsReady(Word):
    """A peer has trained."""


class SignalForPeer(Word):
    """Both ways: to whom it shall go, or from whom it came."""

    peer: Identity
    signal: Raw


class ConnectionsReady(Word):
    """A peer is connected to all the others of its round."""


class ModelSyncRequest(Word):
    """A peer asks for the model."""


# ── Messages of the server ───────────────────────────────────────────────────────────────────────────────


class NewFederatedNodeInfo(Word):
    """Answers hello; the payload is nil while the round is 0."""

    id: Identity
    waitForMoreParticipants: bool
    payload: Raw
    round: Count
    nbOfParticipants: Count
    ended: str = ""


class ReceiveServerPayload(Word):
    """The global model."""

    payload: Raw
    round: Count
    nbOfParticipants: Count


class ContributionVerdict(Word):
    """What became of a contribution."""

    round: Count
    outcome: Outcome
    reason: str
    key: str | None = None


class TrainingEnded(Word):
    """Nothing counts any more; without a reason, it does again."""

    round: Count
    reason: str


class WaitingForMoreParticipants(Word):
    """Too few."""

    nbOfParticipants: Count


class EnoughParticipants(Word):
    """Enough again."""

    nbOfParticipants: Count


class ParticipantsUpdate(Word):
    """Neither, but another number."""

    nbOfParticipants: Count


class CrashClient(Word):
    """The server will not go on with this client."""

    reason: str


class NewDecentralizedNodeInfo(Word):
    """Answers a peer's hello."""

    id: Identity
    waitForMoreParticipants: bool
    nbOfParticipants: Count
    joinedMidTraining: bool


class PeersForRound(Word):
    """The others of a round; how many are present is told by servers of late 2026 only."""

    peers: Identities
    aggregationRound: Count
    nbOfParticipants: Count | None = None


class StartWeightSharing(Word):
    """All are connected."""


class RetryPeerConnections(Word):
    """Connecting took too long."""


class ConnectionFail(Word):
    """The receiver is out of the round."""


class ModelProviderInfo(Word):
    """Who has the model."""

    providerNode: Identity


class ProvideModelToPeer(Word):
    """Who wants the model."""

    newNode: Identity
