from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.core.byte_objects import BLOCK, read_indexed


def indexed(data: bytes) -> bytes:
    """What `JSON.stringify` makes of a Uint8Array."""
    return json.dumps({str(index): byte for index, byte in enumerate(data)}, separators=(",", ":")).encode()


@given(st.binary(min_size=1, max_size=300))
def test_bytes_come_back(data: bytes) -> None:
    assert read_indexed(indexed(data)) == data


def test_many_blocks_of_bytes_come_back() -> None:
    data = bytes(range(256)) * (BLOCK // 500)

    assert read_indexed(memoryview(indexed(data))) == data


@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_changed_character_is_noticed_or_another_value(data: bytes, changes: st.DataObject) -> None:
    text = bytearray(indexed(data))
    text[changes.draw(st.integers(0, len(text) - 1))] = changes.draw(st.integers(0, 255))
    read = read_indexed(bytes(text))

    assert read is None or json.loads(text) == {str(index): byte for index, byte in enumerate(read)}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[1]",
        b'{"0":256}',
        b'{"0":-1}',
        b'{"0":01}',
        b'{"0": 1}',
        b'{"1":1}',
        b'{"0":1,"0":1}',
        b'{"0":1,"2":1}',
        b'{"0":1,}',
        b'{"0":}',
        b'{"":1}',
        b'{"00":1}',
        b"{0:1}",
        b'{"task":1}',
        b'{"0":1',
        b'{"0":99999999999999999999}',
        b"{" + b"x" * (2 * BLOCK) + b"}",
    ],
)
def test_anything_else_is_none(text: bytes) -> None:
    assert read_indexed(text) is None
