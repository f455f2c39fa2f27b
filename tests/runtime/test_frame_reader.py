from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, TextMessage
from wsproto.events import Ping as WsprotoPing

from disco.errors import LimitExceeded, MalformedFrame, MalformedText
from disco.runtime.frame_reader import FRAGMENTED_BYTES, FrameReader
from disco.runtime.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Close,
    Event,
    Message,
    Ping,
    Pong,
)
from tests.runtime.client_frames import KEY, events, events_directly, frame, header

MIB = 1024 * 1024
OWN_ERRORS = (MalformedFrame, MalformedText, LimitExceeded)
Receive: TypeAlias = Callable[[FrameReader, bytes], Iterator[Event]]


def plain(event: Event) -> tuple[object, ...]:
    """Compare by content: a message's buffer may be a view."""
    if isinstance(event, Message):
        return ("message", bytes(event.data), event.text)
    return (type(event).__name__, *event)


def read(data: bytes, limit: int = MIB) -> list[tuple[object, ...]]:
    return [plain(event) for event in events(FrameReader(limit), data)]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[tuple[object, ...]]]:
    """Messages in one or more frames, with pings and pongs between them: the bytes, and what they mean."""
    data = b""
    meaning: list[tuple[object, ...]] = []
    for _ in range(draw(st.integers(0, 4))):
        text = draw(st.booleans())
        content = draw(st.text(max_size=300)).encode() if text else draw(st.binary(max_size=1200))
        cuts = sorted(draw(st.lists(st.integers(0, len(content)), max_size=3)))
        parts = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
        for index, part in enumerate(parts):
            if draw(st.booleans()):
                opcode, payload = draw(st.sampled_from((PING, PONG))), draw(st.binary(max_size=125))
                data += frame(opcode, payload)
                meaning.append(("Ping" if opcode == PING else "Pong", payload))
            opcode = (TEXT if text else BINARY) if index == 0 else CONTINUATION
            key = draw(st.binary(min_size=4, max_size=4))
            data += frame(opcode, part, final=index == len(parts) - 1, key=key)
        meaning.append(("message", content, text))
    return data, meaning


@given(conversation=conversations(), cuts=st.lists(st.integers(0, 6000), max_size=8))
def test_any_split_of_the_bytes_means_the_same(
    conversation: tuple[bytes, list[tuple[object, ...]]], cuts: list[int]
) -> None:
    data, meaning = conversation
    reader, found = FrameReader(MIB), []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, stop in itertools.pairwise(edges):
        found += [plain(event) for event in events(reader, data[start:stop])]
    assert found == meaning


@given(conversation=conversations())
def test_receiving_into_the_target_means_the_same(
    conversation: tuple[bytes, list[tuple[object, ...]]],
) -> None:
    data, meaning = conversation
    assert [plain(event) for event in events_directly(FrameReader(MIB), data)] == meaning


@given(data=st.binary(max_size=300), receive=st.sampled_from((events, events_directly)))
def test_arbitrary_bytes_raise_only_the_layers_own_errors(data: bytes, receive: Receive) -> None:
    try:
        found = list(receive(FrameReader(1000), data))
    except OWN_ERRORS:
        return
    assert all(isinstance(event, Message | Ping | Pong | Close) for event in found)


@given(
    start=st.sampled_from(
        (b"\x82\x85", b"\x01\x83", b"\x80\x84", b"\x88\x86", b"\x89\xfd", b"\x81\xfe\x01\x02")
    ),
    rest=st.binary(max_size=400),
)
def test_frames_with_arbitrary_payloads_raise_only_the_layers_own_errors(start: bytes, rest: bytes) -> None:
    try:
        list(events(FrameReader(1000), start + rest))
    except OWN_ERRORS:
        return


@given(message=st.binary(max_size=70_000) | st.text(max_size=500))
def test_what_wsproto_sends_is_received(message: bytes | str) -> None:
    client = Connection(ConnectionType.CLIENT)
    if isinstance(message, str):
        assert read(client.send(TextMessage(message))) == [("message", message.encode(), True)]
    else:
        assert read(client.send(BytesMessage(message))) == [("message", message, False)]


def test_what_wsproto_sends_beside_messages_is_received() -> None:
    client = Connection(ConnectionType.CLIENT)
    data = client.send(WsprotoPing(b"there?")) + client.send(CloseConnection(1001, "page left"))
    assert read(data) == [("Ping", b"there?"), ("Close", 1001, "page left")]


@pytest.mark.parametrize("size", [0, 1, 1000, 70_000, 300_000])
def test_a_message_in_one_frame_owns_its_bytes(size: int) -> None:
    reader = FrameReader(MIB)
    (first,) = events(reader, frame(BINARY, b"a" * size))
    list(events(reader, frame(BINARY, b"b" * size)))
    assert isinstance(first, Message)
    assert bytes(first.data) == b"a" * size


def test_a_message_in_many_frames_is_put_together() -> None:
    part = bytes(range(256)) * 100
    data = frame(BINARY, part, final=False) + b"".join(
        frame(CONTINUATION, part, final=False) for _ in range(20)
    )
    assert len(part) * 21 > 4 * FRAGMENTED_BYTES
    assert read(data + frame(CONTINUATION, b"")) == [("message", part * 21, False)]


def test_a_ping_amid_a_message_is_seen_at_once() -> None:
    reader = FrameReader(MIB)
    list(events(reader, frame(BINARY, b"first", final=False)))
    assert list(events(reader, frame(PING, b"now"))) == [Ping(b"now")]
    assert [plain(event) for event in events(reader, frame(CONTINUATION, b" last"))] == [
        ("message", b"first last", False)
    ]


@pytest.mark.parametrize(
    "data",
    [
        frame(CONTINUATION, b"x"),
        frame(BINARY, b"x", final=False) + frame(BINARY, b"y"),
        frame(TEXT, b"x", final=False) + frame(BINARY, b"y"),
        frame(BINARY, b"x") + frame(CONTINUATION, b"y"),
    ],
)
def test_frames_in_a_wrong_order_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedFrame, match="continuation"):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"\xff"),
        frame(TEXT, "ä".encode()[:1]),
        frame(TEXT, "ä".encode()[:1], final=False) + frame(CONTINUATION, b""),
        frame(TEXT, "ä".encode()[:1], final=False) + frame(CONTINUATION, b"a"),
        frame(CLOSE, b"\x03\xe8\xff"),
    ],
)
def test_text_that_is_not_utf8_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedText):
        read(data)


@pytest.mark.parametrize("receive", [events, events_directly])
def test_invalid_text_is_refused_before_its_frame_is_whole(receive: Receive) -> None:
    with pytest.raises(MalformedText):
        list(receive(FrameReader(MIB), frame(TEXT, b"fine \xff" + bytes(100))[:-90]))


def test_a_character_may_be_split_between_frames() -> None:
    euro = "€".encode()
    data = frame(TEXT, euro[:1], final=False) + frame(CONTINUATION, euro[1:2], final=False)
    assert read(data + frame(CONTINUATION, euro[2:])) == [("message", euro, True)]


def test_a_message_of_exactly_the_limit_is_received() -> None:
    assert read(frame(BINARY, bytes(1000)), limit=1000) == [("message", bytes(1000), False)]


def test_a_message_over_the_limit_is_refused_by_its_header_alone() -> None:
    with pytest.raises(LimitExceeded, match="1000 bytes"):
        read(header(BINARY, 1001) + KEY, limit=1000)


def test_the_limit_is_for_all_frames_of_a_message_together() -> None:
    data = frame(BINARY, bytes(600), final=False) + header(CONTINUATION, 401, final=False) + KEY
    with pytest.raises(LimitExceeded):
        read(data, limit=1000)


def test_a_length_beyond_any_memory_is_refused_like_any_other() -> None:
    with pytest.raises(LimitExceeded):
        read(header(BINARY, 2**63 - 1) + KEY, limit=2**63 - 1)


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="only Linux tells how much memory is in use"
)
def test_a_claimed_size_takes_no_memory() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    readers = [FrameReader(512 * MIB) for _ in range(10)]
    for reader in readers:
        list(events(reader, header(BINARY, 512 * MIB) + KEY + b"x"))
    assert resident() - before < 64 * MIB


def test_a_reader_knows_whether_it_is_amid_a_message() -> None:
    reader = FrameReader(MIB)
    seen = [reader.amid_message]
    for data in (b"\x02", b"\x81" + KEY, b"x", frame(PING, b""), frame(CONTINUATION, b"y")):
        list(events(reader, data))
        seen.append(reader.amid_message)
    assert seen == [False, True, True, True, True, False]
