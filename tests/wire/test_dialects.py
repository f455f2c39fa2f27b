"""What holds in every dialect: nothing is lost on the way, and nothing that comes breaks it."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from disco.core import events, messages
from disco.core.events import Event
from disco.core.messages import Message
from disco.core.names import ParticipantID, Scheme
from disco.core.weights import Weights
from disco.errors import MalformedMessage, ProtocolViolation, Refused
from disco.wire import DIALECTS, detect
from disco.wire.dialect import Form, WeightsForm, whole
from tests.wire.strategies import SENDER, TASK, alike, forms, objects, said_by_clients, said_by_servers

SCHEMES = list(Scheme)
everywhere = pytest.mark.parametrize(
    ("name", "scheme"), [(name, scheme) for name in DIALECTS for scheme in SCHEMES]
)
MODEL = Weights.from_arrays([[1.0, 2.0], 3.0])


# ── Nothing is lost ──────────────────────────────────────────────────────────────────────────────────────


@everywhere
@given(data=st.data())
def test_what_a_client_says_is_understood(name: str, scheme: Scheme, data: st.DataObject) -> None:
    event, form = data.draw(said_by_clients(name, scheme)), data.draw(forms(name))
    dialect = DIALECTS[name]
    understood, _ = dialect.decode(dialect.compose(event, TASK, form), SENDER, scheme, dialect.FORM)
    assert alike(understood, event)


@everywhere
@given(data=st.data())
def test_what_a_server_says_is_understood(name: str, scheme: Scheme, data: st.DataObject) -> None:
    message, form = data.draw(said_by_servers(name, scheme)), data.draw(forms(name))
    encoded = DIALECTS[name].encode(message, TASK, form)
    assert encoded is not None
    assert alike(DIALECTS[name].parse(whole(encoded), scheme), message)


@everywhere
@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_a_message_may_lie_in_any_buffer(name: str, scheme: Scheme, buffer: Any) -> None:
    dialect = DIALECTS[name]
    hello = events.Joined(SENDER, dialect.PUSHES)
    data = buffer(dialect.compose(hello, TASK, dialect.FORM))
    assert dialect.decode(data, SENDER, scheme, dialect.FORM) == (hello, dialect.FORM)


@pytest.mark.parametrize("name", DIALECTS)
@given(form=st.sampled_from(WeightsForm), data=st.data())
def test_a_contribution_is_understood_in_every_form(
    name: str, form: WeightsForm, data: st.DataObject
) -> None:
    dialect = DIALECTS[name]
    sent = events.Contributed(SENDER, 3, MODEL)
    message = dialect.compose(sent, TASK, Form(form))
    assert alike(dialect.decode(message, SENDER, Scheme.FEDERATED, dialect.FORM)[0], sent)


@pytest.mark.parametrize("name", DIALECTS)
def test_keys_come_in_any_order_and_unknown_ones_are_ignored(name: str) -> None:
    dialect = DIALECTS[name]
    sent = events.Contributed(SENDER, 3, MODEL)
    fields = msgpack.unpackb(dialect.compose(sent, TASK, dialect.FORM))
    turned = msgpack.packb({"unknown": [{"a": 1}], **dict(reversed(fields.items()))})
    assert alike(dialect.decode(turned, SENDER, Scheme.FEDERATED, dialect.FORM)[0], sent)


# ── Nothing breaks it ────────────────────────────────────────────────────────────────────────────────────


def decode_or_refuse(name: str, scheme: Scheme, data: bytes) -> None:
    """Let any other exception through."""
    try:
        event, form = DIALECTS[name].decode(data, SENDER, scheme, DIALECTS[name].FORM)
    except MalformedMessage:
        return
    assert isinstance(event, Event)
    assert isinstance(form, Form)


def parse_or_refuse(name: str, scheme: Scheme, data: bytes) -> None:
    """Let any other exception through."""
    try:
        message = DIALECTS[name].parse(data, scheme)
    except (MalformedMessage, Refused):
        return
    assert isinstance(message, Message)


TYPES = [
    *range(15),
    -1,
    2**64 - 1,
    1.0,
    True,
    None,
    *(word for word in ("SendPayload", "postWeightsToServer", "x")),
]
FIELDS = ["type", "round", "weights", "payload", "peer", "signal", "metadataId", "metadata", "key", "metrics"]


@everywhere
@given(data=st.binary(max_size=200))
@example(data=b"")
@example(data=b"\x91" * 100_000)
@example(data=b"\x81\xa4type" * 50_000)
@example(data=b"\x82\xa4type\x08\xa7weights" + b"\x91" * 100_000)
@example(data=b"\x82\xa4type\x0a\xa7payload" + b"\x91" * 100_000)
@example(data=b"\xdf\xff\xff\xff\xff")
@example(data=b"\x82\xa4type\x08\xa7weights\xdd\xff\xff\xff\xff")
@example(data=b"\x82\xa4type\x04\xa5peers\xdd\xff\xff\xff\xff")
@example(data=b"\x82\xa4type\x05\xa4peer\xa2\xff\xff\xa6signal\x01")
@example(data=b"\x81\xa4type\xc1")
@example(data=b"\x81\xa4type\x00trailing")
def test_any_bytes_give_an_event_or_a_malformed_message(name: str, scheme: Scheme, data: bytes) -> None:
    decode_or_refuse(name, scheme, data)
    parse_or_refuse(name, scheme, data)


@everywhere
@given(kind=st.sampled_from(TYPES), fields=st.dictionaries(st.sampled_from(FIELDS), objects, max_size=5))
def test_any_map_gives_an_event_or_a_malformed_message(
    name: str, scheme: Scheme, kind: Any, fields: dict[str, Any]
) -> None:
    data = msgpack.packb({**fields, "type": kind})
    decode_or_refuse(name, scheme, data)
    parse_or_refuse(name, scheme, data)


@st.composite
def mutated(draw: st.DrawFn, encoded: bytes) -> bytes:
    """Change, cut out or insert a few bytes."""
    data = bytearray(encoded)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


@everywhere
@given(data=st.data())
def test_a_damaged_message_gives_an_event_or_a_malformed_message(
    name: str, scheme: Scheme, data: st.DataObject
) -> None:
    form = data.draw(forms(name))
    sent = DIALECTS[name].compose(data.draw(said_by_clients(name, scheme)), TASK, form)
    decode_or_refuse(name, scheme, data.draw(mutated(sent)))
    answered = DIALECTS[name].encode(data.draw(said_by_servers(name, scheme)), TASK, form)
    assert answered is not None
    parse_or_refuse(name, scheme, data.draw(mutated(whole(answered))))


# ── What is refused, and how ─────────────────────────────────────────────────────────────────────────────

WEIGHTS_FIELD = {"v2": "weights", "v3": "payload", "v4": "payload"}
POST = {"v2": 8, "v3": 10, "v4": "SendPayload"}


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({}, "{} is missing"),
        (None, "{} is nil, expected bytes"),
        ("x", "{} is a string, expected bytes"),
        (b"\xc1", "{} is not msgpack"),
        (msgpack.packb([{"shape": [2], "data": [1.0]}]), "{}[0].data has 1 elements where shape [2] needs 2"),
    ],
)
def test_a_contribution_with_unreadable_weights_says_what_is_wrong(
    name: str, weights: Any, reason: str
) -> None:
    given_weights = {} if weights == {} else {WEIGHTS_FIELD[name]: weights}
    data = msgpack.packb({"type": POST[name], "round": 0, **given_weights})
    event, _ = DIALECTS[name].decode(data, SENDER, Scheme.FEDERATED, DIALECTS[name].FORM)
    assert isinstance(event, events.Misdelivered)
    assert event.participant == SENDER
    assert event.reason.startswith(reason.format(WEIGHTS_FIELD[name]))


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("round_", [-1, 2**53, 1.5, "0", None, True])
def test_a_round_is_an_integer_that_javascript_can_hold(name: str, round_: Any) -> None:
    data = msgpack.packb({"type": POST[name], "round": round_, WEIGHTS_FIELD[name]: b"\x90"})
    with pytest.raises(MalformedMessage, match="round: expected int"):
        DIALECTS[name].decode(data, SENDER, Scheme.FEDERATED, DIALECTS[name].FORM)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_nil_signal_is_refused_because_it_breaks_the_receiver(name: str) -> None:
    peer = ParticipantID("7")
    data = DIALECTS[name].compose(events.Signalled(SENDER, peer, b"\xc0"), TASK, DIALECTS[name].FORM)
    with pytest.raises(MalformedMessage, match="signal"):
        DIALECTS[name].decode(data, SENDER, Scheme.DECENTRALIZED, DIALECTS[name].FORM)


@pytest.mark.parametrize("name", ["v3", "v4"])
@pytest.mark.parametrize("peer", ["", "x" * 65, 7])
def test_the_id_of_a_peer_is_a_short_string(name: str, peer: Any) -> None:
    data = msgpack.packb({"type": {"v3": 5, "v4": "SignalForPeer"}[name], "peer": peer, "signal": {}})
    with pytest.raises(MalformedMessage, match="peer: expected str"):
        DIALECTS[name].decode(data, SENDER, Scheme.DECENTRALIZED, DIALECTS[name].FORM)


@everywhere
def test_a_message_of_the_other_scheme_is_refused(name: str, scheme: Scheme) -> None:
    other = Scheme.DECENTRALIZED if scheme is Scheme.FEDERATED else Scheme.FEDERATED
    event: Event = (
        events.BecameReady(SENDER) if other is Scheme.DECENTRALIZED else events.Contributed(SENDER, 0, MODEL)
    )
    data = DIALECTS[name].compose(event, TASK, DIALECTS[name].FORM)
    with pytest.raises(MalformedMessage, match="type"):
        DIALECTS[name].decode(data, SENDER, scheme, DIALECTS[name].FORM)


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("event", [events.Left(SENDER), events.Ticked(), events.Misdelivered(SENDER, "why")])
def test_what_only_the_runtime_says_has_no_word(name: str, event: Event) -> None:
    with pytest.raises(ProtocolViolation, match=type(event).__name__):
        DIALECTS[name].compose(event, TASK, DIALECTS[name].FORM)


STATISTICS = messages.Statistics(0, 0, 0, 0.0)
METADATA = messages.Metadata(TASK, SENDER, 0, "", ())
SILENCE: dict[str, list[Message]] = {
    "v2": [
        messages.GlobalModel(1, MODEL, 2, pushed=True),
        messages.Verdict(0, messages.Outcome.ACCEPTED, ""),
        messages.TrainingEnded(0, "why"),
        messages.WaitingForMore(1),
        messages.Enough(2),
        messages.ParticipantsChanged(3),
        messages.StartSharing(),
        messages.RetryConnections(),
        messages.ConnectionsFailed(),
        messages.ModelProvider(SENDER),
        messages.ModelWanted(SENDER),
    ],
    "v3": [
        STATISTICS,
        METADATA,
        messages.Verdict(0, messages.Outcome.ACCEPTED, ""),
        messages.TrainingEnded(0, "why"),
        messages.ParticipantsChanged(3),
        messages.StartSharing(),
        messages.RetryConnections(),
        messages.ConnectionsFailed(),
        messages.ModelProvider(SENDER),
        messages.ModelWanted(SENDER),
    ],
    "v4": [
        STATISTICS,
        METADATA,
        messages.Verdict(0, messages.Outcome.ACCEPTED, ""),
        messages.TrainingEnded(0, "why"),
    ],
}


@pytest.mark.parametrize(
    ("name", "message"), [(name, message) for name, said in SILENCE.items() for message in said]
)
def test_a_generation_is_never_sent_what_would_break_its_client(name: str, message: Message) -> None:
    assert DIALECTS[name].encode(message, TASK, DIALECTS[name].FORM) is None


# ── Which dialect ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "name"), [(0, "v3"), (2, "v3"), (99, "v3"), ("ClientConnected", "v4"), ("", "v4")]
)
def test_a_dialect_is_known_by_its_first_message(kind: Any, name: str) -> None:
    assert name == detect(msgpack.packb({"unknown": {}, "type": kind})).NAME


@given(data=st.binary(max_size=50) | objects.map(msgpack.packb))
@example(data=msgpack.packb({"type": True}))
@example(data=msgpack.packb({"type": 1.0}))
@example(data=b"\x81\xa4type" + b"\x91" * 100_000)
def test_any_first_message_is_of_a_dialect_or_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        assert detect(data).NAME in {"v3", "v4"}
