"""What is wrong with a message, in a sentence."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from msgspec import Raw

from disco.errors import InvalidUpdate, MalformedMessage
from disco.wire.envelope import Count, Identifiers, Spliced, Word, message_type, pack, unpack, vocabulary


class Visit(Word):
    at: Count
    peers: Identifiers | None = None
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
