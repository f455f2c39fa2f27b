"""The messages of DISCO's wire of 2022 and 2023, as they are.

Source: DISCO v2 wire, npm's ``@epfml/discojs-node`` 2.1.1.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from msgspec import Meta, Raw, Struct

from disco.wire.envelope import ABSENT, Count, Word


class Code(IntEnum):
    """The types of messages, under the names that may stand in for them."""

    clientConnected = 0
    PeerID = 1
    SignalForPeer = 2
    PeerIsReady = 3
    PeersForRound = 4
    postWeightsToServer = 8
    postMetadata = 9
    getMetadataMap = 10
    latestServerRound = 11
    pullServerStatistics = 13


# ── Messages of a client ─────────────────────────────────────────────────────────────────────────────────


class ClientConnected(Word, tag=Code.clientConnected.value):
    """Hello; in the federated scheme the server echoes it."""


class PostWeights(Word, tag=Code.postWeightsToServer.value):
    """An update."""

    round: Count
    weights: Raw = ABSENT


class AskModel(Word, tag=Code.latestServerRound.value):
    """Asks for the global model."""


class AskStatistics(Word, tag=Code.pullServerStatistics.value):
    """Asks for the statistics."""


class PostMetadata(Word, tag=Code.postMetadata.value):
    """A value under a name; `clientId` and `taskId` repeat the path."""

    round: Count
    metadataId: str
    metadata: str


class AskMetadata(Word, tag=Code.getMetadataMap.value):
    """Asks for everybody's values under a name."""

    round: Count
    metadataId: str


class PeerIsReady(Word, tag=Code.PeerIsReady.value):
    """A peer has trained."""


class SignalForPeer(Word, tag=Code.SignalForPeer.value):
    """Both ways: to whom it shall go, or from whom it came."""

    peer: Count
    signal: Raw


# ── Messages of the server ───────────────────────────────────────────────────────────────────────────────


class Model(Word, tag=Code.latestServerRound.value):
    """The global model."""

    round: Count
    weights: Raw


class Figures(Struct):
    """What the statistics are."""

    round: Count
    currentNumberOfParticipants: Count
    totalNumberOfParticipants: Count
    averageNumberOfParticipants: float


class Statistics(Word, tag=Code.pullServerStatistics.value):
    """The statistics."""

    statistics: Figures


class MetadataMap(Word, tag=Code.getMetadataMap.value):
    """Everybody's values under a name, as pairs of client and value."""

    clientId: str
    taskId: str
    metadataId: str
    round: Count
    metadataMap: Annotated[list[tuple[str, str]], Meta(max_length=65_536)]


class PeerID(Word, tag=Code.PeerID.value):
    """The number of the peer that receives this."""

    id: Count


class PeersForRound(Word, tag=Code.PeersForRound.value):
    """The others of a round."""

    peers: Annotated[list[Count], Meta(max_length=65_536)]
