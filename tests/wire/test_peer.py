"""Messages between peers, against npm's own bytes and against whatever may come."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.core.names import ParticipantID
from disco.core.weights import Weights
from disco.errors import InvalidUpdate, LimitExceeded, MalformedMessage, ProtocolViolation
from disco.wire.peer import V2_CHUNK_BYTES, Joiner, PeerMessage, Stage, cut, decode, encode

GOLDEN = Path(__file__).parent.parent / "interop" / "golden"
DIALECTS = ("v2", "v3", "v4")

shapes = st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), max_size=4)


@st.composite
def models(draw: st.DrawFn) -> Weights:
    structure = draw(shapes)
    size = sum(int(np.prod(shape, dtype=int)) for shape in structure)
    values = draw(st.lists(st.floats(width=32, allow_nan=False), min_size=size, max_size=size))
    return Weights.from_flat(np.array(values, dtype=np.float32), structure)


def golden(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    return loaded


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stage", list(Stage))
def test_what_npm_sends_is_read(stage: Stage) -> None:
    name = {"WEIGHTS": "Weights", "SHARES": "Shares", "PARTIAL_SUMS": "PartialSums"}[stage.name]
    frame = golden(f"peer_{name}")
    message = decode(bytes.fromhex(frame["hex"]), "v2", secure=False)
    assert (message.stage, message.to) == (stage, str(frame["decoded"]["peer"]))
    for tensor, expected in zip(message.weights.arrays(), frame["inner"], strict=True):
        assert list(tensor.shape) == expected["shape"]
        assert tensor.reshape(-1).tolist() == expected["data"]


def test_v2_weights_are_written_as_an_array_of_bytes() -> None:
    message = PeerMessage(Stage.WEIGHTS, ParticipantID("112"), Weights.from_arrays([[1.5, -2]]))
    outer = msgpack.unpackb(encode(message, "v2"))
    assert (outer["type"], outer["peer"]) == (5, 112)
    assert msgpack.unpackb(bytes(outer["weights"])) == [{"shape": [2], "data": [1.5, -2]}]


def test_v2_partial_sums_have_a_name_of_their_own() -> None:
    message = PeerMessage(Stage.PARTIAL_SUMS, ParticipantID("1"), Weights.zeros([(1,)]))
    assert set(msgpack.unpackb(encode(message, "v2"))) == {"type", "peer", "partials"}


@pytest.mark.parametrize(("dialect", "type_"), [("v3", 6), ("v4", "Payload")])
def test_a_payload_names_its_round_and_stage(dialect: str, type_: int | str) -> None:
    message = PeerMessage(Stage.PARTIAL_SUMS, ParticipantID("uuid"), Weights.zeros([(1,)]), round=7)
    outer = msgpack.unpackb(encode(message, dialect))
    assert isinstance(outer.pop("payload"), bytes)
    assert outer == {"type": type_, "peer": "uuid", "aggregationRound": 7, "communicationRound": 1}


@pytest.mark.parametrize("dialect", DIALECTS)
@given(weights=models(), stage=st.sampled_from(Stage), round_=st.integers(0, 2**53 - 1))
def test_what_is_written_is_read_again(dialect: str, weights: Weights, stage: Stage, round_: int) -> None:
    sent = PeerMessage(stage, ParticipantID("12"), weights, None if dialect == "v2" else round_)
    read = decode(encode(sent, dialect), dialect, secure=stage is not Stage.WEIGHTS)
    assert (read.stage, read.to, read.round) == (sent.stage, sent.to, sent.round)
    assert read.weights.equals(weights)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(dialect: str, data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        decode(data, dialect, secure=True)


texts = st.text("ab\x00é", max_size=4)
msgpack_values = st.recursive(
    st.sampled_from([None, True, -1, 2**64 - 1, 0.5, float("nan"), b"", b"\x91\xc0"]) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("type", "peer", "weights", "partials", "payload", "aggregationRound", "communicationRound")


@pytest.mark.parametrize("dialect", DIALECTS)
@given(
    message=st.dictionaries(
        st.sampled_from(FIELDS), st.sampled_from([5, 6, 7, 0, 1, "Payload"]) | msgpack_values
    )
)
def test_any_map_is_a_message_or_malformed(dialect: str, message: dict[str, Any]) -> None:
    with contextlib.suppress(MalformedMessage):
        decode(msgpack.packb(message), dialect, secure=False)


def test_unreadable_weights_are_named() -> None:
    with pytest.raises(InvalidUpdate, match="partials is missing"):
        decode(msgpack.packb({"type": 7, "peer": 1}), "v2", secure=True)


def test_a_v4_payload_is_not_a_v3_payload() -> None:
    message = encode(PeerMessage(Stage.WEIGHTS, ParticipantID("a"), Weights.zeros([()])), "v4")
    with pytest.raises(MalformedMessage, match="type: expected 6"):
        decode(message, "v3", secure=False)


def test_a_v2_peer_without_a_number_cannot_be_addressed() -> None:
    with pytest.raises(ProtocolViolation, match="numbers its peers"):
        encode(PeerMessage(Stage.WEIGHTS, ParticipantID("a-b"), Weights.zeros([()])), "v2")


# ── Framing ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["peer_Weights", "peer_Shares", "peer_PartialSums"])
def test_frames_are_those_of_npm(name: str) -> None:
    frame = golden(name)
    number = int(frame["datachannel_frames_hex"][0][:4], 16)
    chunks = list(cut(bytes.fromhex(frame["hex"]), number, V2_CHUNK_BYTES))
    assert [chunk.hex() for chunk in chunks] == frame["datachannel_frames_hex"]


@given(
    message=st.binary(max_size=3000),
    chunk_bytes=st.integers(20, 4000),
    number=st.integers(0, 200_000),
    random=st.randoms(use_true_random=False),
)
def test_chunks_join_to_the_message_in_any_order(
    message: bytes, chunk_bytes: int, number: int, random: Any
) -> None:
    chunks = list(cut(message, number, chunk_bytes))
    assert all(len(chunk) <= chunk_bytes for chunk in chunks)
    random.shuffle(chunks)
    joiner = Joiner(3000)
    assert [joiner.feed(chunk) for chunk in chunks] == [None] * (len(chunks) - 1) + [message]


@pytest.mark.parametrize("size", [0, 1, 16_380, 16_381, 16_384, 16_385, 32_761, 32_762])
def test_no_byte_is_lost_at_the_edges_of_chunks(size: int) -> None:
    message = bytes(index % 251 for index in range(size))
    joiner = Joiner(100_000)
    joined = [joiner.feed(chunk) for chunk in cut(message, 0, V2_CHUNK_BYTES)]
    assert joined[-1] == message


def test_message_numbers_wrap() -> None:
    assert next(cut(b"x", 65_536 + 3, 100)) == b"\x00\x03\x00\x01x"


def test_the_largest_message_fits_and_one_byte_more_does_not() -> None:
    most = 16_380 + 254 * 16_381
    assert len(list(cut(bytes(most), 0, V2_CHUNK_BYTES))) == 255
    with pytest.raises(LimitExceeded, match=f"at most {most} bytes"):
        list(cut(bytes(most + 1), 0, V2_CHUNK_BYTES))


def test_messages_may_interleave() -> None:
    first, second = list(cut(b"abcdef", 0, 7)), list(cut(b"uvwxyz", 1, 7))
    joiner = Joiner(100)
    joined = [joiner.feed(chunk) for pair in zip(first, second, strict=True) for chunk in pair]
    assert [message for message in joined if message is not None] == [b"abcdef", b"uvwxyz"]


@pytest.mark.parametrize(
    ("chunks", "why"),
    [
        ([b"\x00\x00"], "at least 3 bytes"),
        ([b"\x00\x00\x00"], "at least 4 bytes"),
        ([b"\x00\x00\x00\x00"], "beyond them"),
        ([b"\x00\x00\x01a", b"\x00\x00\x01b"], "came twice"),
        ([b"\x00\x00\x02a", b"\x00\x00\x00\x02b"], "beyond them"),
        ([b"\x00\x00\x00\x02" + bytes(60), b"\x00\x01\x00\x02" + bytes(60)], "more than 100 bytes"),
        ([b"\x00" + bytes([number]) + b"\x01" for number in range(9)], "more than 8"),
    ],
)
def test_contradictions_and_floods_are_malformed(chunks: list[bytes], why: str) -> None:
    joiner = Joiner(100)
    for chunk in chunks[:-1]:
        assert joiner.feed(chunk) is None
    with pytest.raises(MalformedMessage, match=why):
        joiner.feed(chunks[-1])


@given(chunks=st.lists(st.binary(max_size=12), max_size=20))
def test_any_chunks_join_or_are_malformed(chunks: list[bytes]) -> None:
    joiner = Joiner(64)
    with contextlib.suppress(MalformedMessage):
        for chunk in chunks:
            joiner.feed(chunk)
