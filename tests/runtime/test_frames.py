from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.errors import MalformedFrame, MalformedText
from disco.runtime.frames import (
    BINARY,
    CLOSE,
    NO_STATUS,
    PING,
    Close,
    encode_close,
    encode_header,
    is_close_code,
    parse_close,
    parse_header,
)
from tests.runtime.client_frames import KEY, frame, header


@pytest.mark.parametrize(
    ("length", "written"),
    [
        (0, b"\x82\x00"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65_535, b"\x82\x7e\xff\xff"),
        (65_536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_header_has_the_shortest_form_of_its_length(length: int, written: bytes) -> None:
    assert encode_header(BINARY, length) == written


@given(length=st.integers(0, 2**63 - 1), final=st.booleans())
def test_a_header_is_read_as_it_was_written(length: int, final: bool) -> None:
    written = header(BINARY, length, final=final) + KEY
    read = parse_header(b"xx" + written, 2)
    assert read == (BINARY, final, length, KEY, 2 + len(written))


@given(length=st.integers(0, 2**63 - 1), missing=st.integers(1, 13))
def test_a_header_that_is_not_all_there_is_waited_for(length: int, missing: int) -> None:
    written = header(BINARY, length) + KEY
    assert parse_header(written[:-missing], 0) is None


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (frame(BINARY, b"", reserved=4), "reserved bits"),
        (frame(BINARY, b"", reserved=1), "reserved bits"),
        (frame(0x3, b""), "reserved opcode 3"),
        (frame(0xB, b""), "reserved opcode 11"),
        (b"\x82\x01x", "not masked"),
        (frame(PING, bytes(126)), "control frame"),
        (frame(CLOSE, b"", final=False), "control frame"),
        (b"\x82\xfe\x00\x7d" + KEY, "shortest form"),
        (b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff" + KEY, "shortest form"),
        (b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00" + KEY, "shortest form"),
    ],
)
def test_a_header_that_no_client_may_send_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(MalformedFrame, match=problem):
        parse_header(data, 0)


def test_two_bytes_are_enough_to_refuse_a_header() -> None:
    with pytest.raises(MalformedFrame):
        parse_header(b"\xc2\xff", 0)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999])
def test_a_close_code_that_may_be_sent_is_valid(code: int) -> None:
    assert is_close_code(code)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_a_close_code_that_must_not_be_sent_is_invalid(code: int) -> None:
    assert not is_close_code(code)
    with pytest.raises(MalformedFrame, match="no valid code"):
        parse_close(code.to_bytes(2))


def test_a_close_frame_may_say_nothing() -> None:
    assert parse_close(b"") == Close(NO_STATUS, "")
    assert encode_close(NO_STATUS) == b"\x88\x00"


def test_half_a_close_code_is_refused() -> None:
    with pytest.raises(MalformedFrame, match="no valid code"):
        parse_close(b"\x03")


def test_a_close_reason_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(MalformedText):
        parse_close(b"\x03\xe8\xff")


@given(reason=st.text(max_size=200))
def test_a_close_reason_is_cut_between_characters(reason: str) -> None:
    written = encode_close(1000, reason)
    assert len(written) <= 2 + 125
    read = parse_close(written[2:])
    assert read.code == 1000
    assert reason.startswith(read.reason)
    assert len(read.reason.encode()) > 119 or read.reason == reason
