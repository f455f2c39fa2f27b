"""What is wrong with a message, in a sentence."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from msgspec import Raw

from disco.errors import InvalidUpdate, MalformedMessage
from disco.wire.dialect import whole
from disco.wire.envelope import (
    JOINED_BYTES,
    Count,
    Identities,
    Spliced,
    Word,
    message_type,
    pack,
    pack_model,
    unpack,
    vocabulary,
)


class Visit(Word):
    at: Count
    peers: Identities | None = None
    rest: Raw = Raw(b"")


class Parting(Word):
    pass


DECODER = vocabulary(Visit, Parting)


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ({"type": "Visit", "at": "x"}, "at: expected int, got str"),
        ({"type": "Visit", "at": -1}, "at: expected int >= 0"),
        ({"type": "Visit", "at": 1, "peers": ["a", 1]}, "peers[1]: expected str, got int"),
        ({"type": "Visit"}, "the message: object missing required field at"),
        ({"type": "Depart"}, "type: invalid value 'Depart'"),
        ({"type": 1}, "type: expected str, got int"),
        ({}, "the message: object missing required field type"),
        ([], "the message: expected object, got array"),
        ({1: 2}, "the message: expected str, got int"),
    ],
)
def test_a_malformed_message_is_explained(message: Any, sentence: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        unpack(DECODER, msgpack.packb(message))
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the message is not msgpack: Input data was truncated"),
        (b"\x81\xa4type\xa5Visit", None),
        (b"\x82\xa4type\xa5Visit\xa2at", "the message is not msgpack: Input data was truncated"),
        (b"\x83\xa4type\xa5Visit\xa2at\x00\xa4rest" + b"\x91" * 5000, "the message is nested too deeply"),
        (
            b"\x83\xa4type\xa5Visit\xa2at\x00\xa5peers\x91\xa1\xff",
            "the message is not msgpack: 'utf-8' codec",
        ),
    ],
)
def test_bytes_that_are_no_msgpack_are_explained(data: bytes, sentence: str | None) -> None:
    with pytest.raises(MalformedMessage) as caught:
        unpack(DECODER, data)
    assert str(caught.value).startswith(sentence or "the message: object missing")


def test_a_part_of_a_message_is_named_in_its_errors() -> None:
    with pytest.raises(InvalidUpdate, match=r"^weights\.at: expected int"):
        unpack(DECODER, msgpack.packb({"type": "Visit", "at": ""}), root="weights", error=InvalidUpdate)


def test_a_long_or_unprintable_value_does_not_end_in_a_log() -> None:
    with pytest.raises(MalformedMessage) as caught:
        unpack(DECODER, msgpack.packb({"type": "a\nb" + "x" * 100_000}))
    assert str(caught.value).startswith("type: invalid value 'a?b")
    assert len(str(caught.value)) < 200


def test_fields_keep_their_order_and_pieces_are_copied_as_they_are() -> None:
    packed = pack({"type": "Visit", "rest": Spliced((b"\x92", memoryview(b"\x01\x02"))), "at": 1})
    assert packed == b"\x83\xa4type\xa5Visit\xa4rest\x92\x01\x02\xa2at\x01"


def test_only_the_type_is_read_of_a_message_of_any_dialect() -> None:
    assert message_type(msgpack.packb({"a": {"b": [None]}, "type": 7})) == 7


def test_a_large_model_is_written_in_pieces_that_are_the_whole_message_and_not_copied() -> None:
    model = np.arange(100_000, dtype=np.float32).data.cast("B")
    fields = {"type": "model", "payload": Spliced((b"\xc6", len(model).to_bytes(4), model)), "round": 7}
    pieces = pack_model(fields)
    assert isinstance(pieces, tuple)
    assert whole(pieces) == pack(fields)
    assert [piece for piece in pieces if len(piece) > JOINED_BYTES] == [model]
    assert any(piece is model for piece in pieces)


@pytest.mark.parametrize("tensors", [0, 1, 600])
def test_a_model_of_many_small_tensors_is_one_piece_of_few(tensors: int) -> None:
    fields = {
        "type": "model",
        "payload": Spliced((b"\xc6" + (tensors * 100).to_bytes(4), *[bytes(100)] * tensors)),
    }
    written = pack_model(fields)
    assert whole(written) == pack(fields)
    assert isinstance(written, bytes)
