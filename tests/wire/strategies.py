"""What Hypothesis draws from: weights, and everything that each dialect can say."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec import Struct

from disco.core import events, messages
from disco.core.events import Event
from disco.core.messages import Message, Outcome
from disco.core.names import ParticipantID, Scheme, TaskID
from disco.core.weights import Weights
from disco.wire.dialect import Form, WeightsForm

SENDER = ParticipantID("2f0c4b1e-7a53-4c8e-9f6d-0a1b2c3d4e5f")
TASK = TaskID("titanic")

rounds = st.integers(0, 2**53 - 1)
counts = st.integers(0, 2**53 - 1)
words = st.text(max_size=20)
identifiers = st.text(min_size=1, max_size=64)
peers = identifiers.map(ParticipantID)
numbered_peers = counts.map(str).map(ParticipantID)
finite = st.floats(allow_nan=False, allow_infinity=False)

#: Any msgpack object but nil, as bytes.
objects = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
signals = objects.filter(lambda value: value is not None).map(msgpack.packb)


@st.composite
def weights(draw: st.DrawFn) -> Weights:
    """Small weights of any structure, with any float32 but NaN."""
    structure = draw(st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), max_size=4))
    size = sum(int(np.prod(shape, dtype=int)) for shape in structure)
    values = draw(st.lists(st.floats(width=32, allow_nan=False), min_size=size, max_size=size))
    return Weights.from_flat(np.array(values, dtype=np.float32), structure)


def alike(left: object, right: object) -> bool:
    """Tell whether two events or messages say the same, weights compared by value."""
    if isinstance(left, Weights) and isinstance(right, Weights):
        return left.equals(right)
    if isinstance(left, Struct) and type(left) is type(right):
        return all(alike(getattr(left, name), getattr(right, name)) for name in left.__struct_fields__)
    return left == right


def said_by_clients(dialect: str, scheme: Scheme) -> SearchStrategy[Event]:
    """Draw what a client of `dialect` can say, in so far as the dialect can say it."""
    return st.one_of(_CLIENTS[dialect, scheme])


def said_by_servers(dialect: str, scheme: Scheme) -> SearchStrategy[Message]:
    """Draw what a server can say in `dialect`, in so far as the dialect can say it."""
    return st.one_of(_SERVERS[dialect, scheme])


def forms(dialect: str) -> SearchStrategy[Form]:
    """Draw a client's habits."""
    if dialect == "v2":
        return st.builds(Form, st.sampled_from(WeightsForm), named=st.booleans())
    return st.builds(Form, st.just(WeightsForm.PACKED), verdicts=st.just(dialect == "v4"))


_sender = st.just(SENDER)
_nobody = st.just(ParticipantID(""))
_nothing = st.just(Weights((), ()))
_zero = st.just(0)
_no = st.just(False)
_yes = st.just(True)

_contributed = st.builds(events.Contributed, _sender, rounds, weights())
_signalled = st.builds(events.Signalled, _sender, peers, signals)
_peers = st.lists(peers, max_size=5).map(tuple)
_V3_PEER: list[SearchStrategy[Any]] = [
    st.builds(events.Joined, _sender),
    st.builds(events.RoundJoined, _sender),
    st.builds(events.BecameReady, _sender),
    _signalled,
]
_CLIENTS: dict[tuple[str, Scheme], list[SearchStrategy[Any]]] = {
    ("v2", Scheme.FEDERATED): [
        st.builds(events.Joined, _sender, pushed=_no),
        _contributed,
        st.builds(events.ModelRequested, _sender),
        st.builds(events.StatisticsRequested, _sender),
        st.builds(events.MetadataPosted, _sender, rounds, words, words),
        st.builds(events.MetadataRequested, _sender, rounds, words),
    ],
    ("v2", Scheme.DECENTRALIZED): [
        st.builds(events.Joined, _sender, pushed=_no),
        st.builds(events.BecameReady, _sender),
        st.builds(events.Signalled, _sender, numbered_peers, signals),
    ],
    ("v3", Scheme.FEDERATED): [st.builds(events.Joined, _sender), _contributed],
    ("v3", Scheme.DECENTRALIZED): _V3_PEER,
    ("v4", Scheme.FEDERATED): [
        st.builds(events.Joined, _sender, identity=st.none() | identifiers),
        st.builds(
            events.Contributed,
            _sender,
            rounds,
            weights(),
            key=st.none() | st.text(min_size=1, max_size=128),
            samples=st.none() | st.floats(0, 1e300),
            metrics=st.none() | st.dictionaries(identifiers.filter(str.isprintable), finite, max_size=4),
        ),
    ],
    ("v4", Scheme.DECENTRALIZED): [
        *_V3_PEER,
        st.builds(events.ConnectionsEstablished, _sender),
        st.builds(events.ModelSyncRequested, _sender),
    ],
}

_counted: list[SearchStrategy[Any]] = [
    st.builds(messages.WaitingForMore, counts),
    st.builds(messages.Enough, counts),
    st.builds(messages.ParticipantsChanged, counts),
]
_uncounted: list[SearchStrategy[Any]] = [
    st.builds(messages.WaitingForMore, _zero),
    st.builds(messages.Enough, _zero),
]
_pushed = st.builds(messages.GlobalModel, rounds, weights(), counts, _yes)
_SERVERS: dict[tuple[str, Scheme], list[SearchStrategy[Any]]] = {
    ("v2", Scheme.FEDERATED): [
        st.builds(messages.Welcome, _nobody, _zero, _nothing, _no, _zero),
        st.builds(messages.GlobalModel, rounds, weights(), _zero, _no),
        st.builds(messages.Statistics, counts, counts, counts, finite),
        st.builds(
            messages.Metadata,
            st.just(TASK),
            peers,
            rounds,
            words,
            st.lists(st.tuples(peers, words), max_size=4).map(tuple),
        ),
    ],
    ("v2", Scheme.DECENTRALIZED): [
        st.builds(messages.PeerWelcome, numbered_peers, _no, _zero, _no),
        st.builds(messages.PeersForRound, st.lists(numbered_peers, max_size=5).map(tuple), _zero),
        st.builds(messages.Signal, numbered_peers, signals),
    ],
    ("v3", Scheme.FEDERATED): [
        st.builds(messages.Welcome, peers, rounds, weights(), st.booleans(), counts),
        _pushed,
        *_uncounted,
    ],
    ("v3", Scheme.DECENTRALIZED): [
        st.builds(messages.PeerWelcome, peers, st.booleans(), _zero, _no),
        st.builds(messages.PeersForRound, _peers, rounds),
        st.builds(messages.Signal, peers, signals),
        *_uncounted,
    ],
    ("v4", Scheme.FEDERATED): [
        st.builds(messages.Welcome, peers, rounds.filter(bool), weights(), st.booleans(), counts),
        st.builds(messages.Welcome, peers, _zero, _nothing, st.booleans(), counts),
        _pushed,
        st.builds(messages.Verdict, rounds, st.sampled_from(Outcome), words, st.none() | words),
        st.builds(messages.TrainingEnded, rounds, words),
        *_counted,
    ],
    ("v4", Scheme.DECENTRALIZED): [
        st.builds(messages.PeerWelcome, peers, st.booleans(), counts, st.booleans()),
        st.builds(messages.PeersForRound, _peers, rounds),
        st.builds(messages.Signal, peers, signals),
        st.builds(messages.StartSharing),
        st.builds(messages.RetryConnections),
        st.builds(messages.ConnectionsFailed),
        st.builds(messages.ModelProvider, peers),
        st.builds(messages.ModelWanted, peers),
        *_counted,
    ],
}
