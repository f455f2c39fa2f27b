"""What is particular to the wire of 2022 and 2023."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.core import events, messages
from disco.core.names import ParticipantID, Scheme
from disco.core.weights import Weights
from disco.errors import MalformedMessage, ProtocolViolation
from disco.wire import v2
from disco.wire.dialect import Form, WeightsForm
from disco.wire.tensors import PLACE, encode_weights, lift
from tests.wire.strategies import SENDER, TASK

MODEL = Weights.from_arrays([[1.0, 2.0]])
PLAIN = encode_weights(MODEL, WeightsForm.FLOATS)
PACKED = encode_weights(MODEL, WeightsForm.PACKED)


def decode(message: dict[str, Any], scheme: Scheme = Scheme.FEDERATED) -> tuple[events.Event, Form]:
    return v2.decode(msgpack.packb(message), SENDER, scheme, v2.FORM)


def answer(form: Form) -> dict[str, Any]:
    encoded = v2.encode(messages.GlobalModel(1, MODEL, 2, pushed=False), TASK, form)
    assert encoded is not None
    unpacked: dict[str, Any] = msgpack.unpackb(encoded)
    return unpacked


@pytest.mark.parametrize(
    ("weights", "answered"),
    [(list(PLAIN), list(PLAIN)), (PLAIN, PLAIN), (PACKED, PACKED), (list(PACKED), list(PLAIN))],
)
def test_a_client_is_answered_in_the_form_that_it_used(weights: Any, answered: Any) -> None:
    _, form = decode({"type": 8, "weights": weights, "round": 0})
    assert answer(form)["weights"] == answered


def test_a_client_that_shows_nothing_is_answered_in_integers() -> None:
    assert answer(v2.FORM)["weights"] == list(PLAIN)


def test_a_client_that_writes_names_is_answered_with_names() -> None:
    event, form = decode({"type": "latestServerRound"})
    assert event == events.ModelRequested(SENDER)
    assert answer(form)["type"] == "latestServerRound"


def test_a_client_that_writes_codes_again_is_answered_with_codes() -> None:
    _, form = v2.decode(
        msgpack.packb({"type": 11}), SENDER, Scheme.FEDERATED, Form(WeightsForm.INTEGERS, named=True)
    )
    assert answer(form)["type"] == 11


def test_what_a_message_says_of_its_sender_is_ignored() -> None:
    event, _ = decode(
        {"type": 9, "taskId": 7, "clientId": None, "round": 1, "metadataId": "name", "metadata": "value"}
    )
    assert event == events.MetadataPosted(SENDER, 1, "name", "value")


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 7, 12, 14, 255])
def test_a_code_that_is_not_for_the_server_is_refused(code: int) -> None:
    with pytest.raises(MalformedMessage, match=f"^type: invalid value {code}$"):
        decode({"type": code, "weights": [], "round": 0, "peer": 1})


@pytest.mark.parametrize("name", ["pullRoundAndFetchWeights", "Weights", "PostWeights", "8"])
def test_a_name_that_is_not_for_the_server_is_refused(name: str) -> None:
    with pytest.raises(MalformedMessage, match=f"^type: invalid value '{name}'$"):
        decode({"type": name, "weights": [], "round": 0})


@pytest.mark.parametrize("peer", [-1, 1.0, "7", None, 2**53])
def test_a_peer_is_a_number(peer: Any) -> None:
    with pytest.raises(MalformedMessage, match="peer: expected int"):
        decode({"type": 2, "peer": peer, "signal": {}}, Scheme.DECENTRALIZED)


@pytest.mark.parametrize("name", ["", "a", "-1", "1.0", "²", str(2**53)])
def test_a_peer_without_a_number_cannot_be_introduced(name: str) -> None:
    with pytest.raises(ProtocolViolation, match="number"):
        v2.encode(messages.PeersForRound((ParticipantID(name),), 0), TASK, v2.FORM)


def test_an_average_that_is_no_whole_number_is_told_exactly() -> None:
    encoded = v2.encode(messages.Statistics(3, 2, 7, 7 / 3), TASK, v2.FORM)
    assert encoded is not None
    assert msgpack.unpackb(encoded)["statistics"]["averageNumberOfParticipants"] == 7 / 3


def test_a_signal_passes_unopened() -> None:
    signal = msgpack.packb({"type": "x", "ext": msgpack.ExtType(5, b"??"), "n": None})
    event, _ = v2.decode(
        b"\x83\xa4type\x02\xa4peer\x07\xa6signal" + signal, SENDER, Scheme.DECENTRALIZED, v2.FORM
    )
    assert event == events.Signalled(SENDER, ParticipantID("7"), signal)
    forwarded = v2.encode(messages.Signal(ParticipantID("8"), signal), TASK, v2.FORM)
    assert forwarded == b"\x83\xa4type\x02\xa4peer\x08\xa6signal" + signal


# ── Integers that are lifted out ─────────────────────────────────────────────────────────────────────────

INTEGERS = list(PLAIN)
#: The same integers with the longest header, as large models have it; and others that look like them.
LARGE = b"\xdd" + struct.pack(">I", len(INTEGERS)) + msgpack.packb(INTEGERS)[3:]
LIKE_THEM = [
    LARGE[:-1],
    LARGE + b"\x01",
    b"\xdd\x00\x00\x00\x02\xcd\x00\x01\x05",
    b"\xdd\x00\x00\x00\x00",
    b"\xdd\xff\xff\xff\xff\x01",
    b"\x81\xa7weights" + LARGE,
    PLACE,
    msgpack.packb(INTEGERS),
    msgpack.packb(PLAIN),
    b"",
]
values = st.just(LARGE) | st.sampled_from(LIKE_THEM)
types = st.sampled_from([8, 11, "postWeightsToServer", 99]).map(msgpack.packb)
others = st.sampled_from([PLACE, b"weights" + LARGE, b"text"]).map(msgpack.packb) | values
fields = st.one_of(
    st.tuples(st.just("weights"), values),
    st.tuples(st.just("type"), types),
    st.tuples(st.just("round"), st.sampled_from([b"\x00", b"\xff", b"\xa0"])),
    st.tuples(st.just("other"), others),
)
#: What is in a contribution, and more or less than that, in any order.
contributions = st.builds(
    lambda several, more, fewer: (several + more)[fewer:],
    st.tuples(
        st.just(("type", b"\x08")), st.tuples(st.just("weights"), values), st.just(("round", b"\x05"))
    ).map(list),
    st.lists(fields, max_size=2),
    st.sampled_from([0, 0, 0, 1]),
).flatmap(st.permutations)


def outcome(data: bytes) -> object:
    try:
        event, form = v2.decode(data, SENDER, Scheme.FEDERATED, v2.FORM)
    except MalformedMessage as error:
        return str(error)
    if isinstance(event, events.Contributed):
        return event.round, event.update.shapes, [tensor.tolist() for tensor in event.update.tensors], form
    return event, form


@given(message=contributions, after=st.sampled_from([b"", b"", b"\x01"]))
def test_a_message_is_read_as_if_nothing_were_lifted_out_of_it(
    message: list[tuple[str, bytes]], after: bytes
) -> None:
    pairs = b"".join(msgpack.packb(name) + value for name, value in message)
    data = bytes([0x80 | len(message)]) + pairs + after
    found = outcome(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(v2, "lift", lambda *_: None)
        assert outcome(data) == found


def test_integers_are_lifted_out() -> None:
    data = b"\x83\xa4type\x08\xa7weights" + LARGE + b"\xa5round\x05"
    lifted = lift(data, "weights")
    assert lifted is not None
    assert lifted.rest == b"\x83\xa4type\x08\xa7weights" + PLACE + b"\xa5round\x05"
    assert lifted.octets.tobytes() == PLAIN
    assert outcome(data) == (5, MODEL.shapes, [[1.0, 2.0]], v2.FORM)
