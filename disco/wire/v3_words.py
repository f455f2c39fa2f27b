"""The messages of DISCO's wire of 2024, as they are: names that exist only in its source, and their numbers.

Source: DISCO v3 wire, discojs 3.x.
"""

from __future__ import annotations

from msgspec import Raw

from disco.wire.envelope import ABSENT, Count, Identities, Identity, Word

# ── Messages of a client ─────────────────────────────────────────────────────────────────────────────────


class ClientConnected(Word, tag=0):
    """Hello."""


class JoinRound(Word, tag=2):
    """A peer starts its local training."""


class PeerIsReady(Word, tag=3):
    """A peer has trained."""


class SignalForPeer(Word, tag=5):
    """Both ways: to whom it shall go, or from whom it came."""

    peer: Identity
    signal: Raw


class SendPayload(Word, tag=10):
    """An update."""

    round: Count
    payload: Raw = ABSENT


# ── Messages of the server ───────────────────────────────────────────────────────────────────────────────


class NewDecentralizedNodeInfo(Word, tag=1):
    """Answers a peer's hello."""

    id: Identity
    waitForMoreParticipants: bool


class PeersForRound(Word, tag=4):
    """The others of a round."""

    peers: Identities
    aggregationRound: Count


class NewFederatedNodeInfo(Word, tag=7):
    """Answers hello."""

    id: Identity
    waitForMoreParticipants: bool
    payload: Raw
    round: Count
    nbOfParticipants: Count


class WaitingForMoreParticipants(Word, tag=8):
    """Too few."""


class EnoughParticipants(Word, tag=9):
    """Enough again."""


class ReceiveServerPayload(Word, tag=11):
    """The global model."""

    payload: Raw
    round: Count
    nbOfParticipants: Count
