"""Bytes as msgpack integers."""

from __future__ import annotations

import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.errors import InvalidUpdate
from disco.wire import integers
from disco.wire.integers import collapse, expand, scalars

#: Bytes among which runs of the prefix, which is a value too, are long.
tricky = st.lists(st.sampled_from([0x00, 0x7F, 0x80, 0xCB, 0xCC, 0xCD, 0xFF]), max_size=60).map(bytes)

#: One integer below 128, as a format, in widths that are not its shortest.
WIDTHS = [b"\xcc%c", b"\xcd\x00%c", b"\xce\x00\x00\x00%c", b"\xd1\x00%c", b"\xd3\0\0\0\0\0\0\0%c"]

#: Objects of which some are no integer of a byte, and some are one in another form.
any_object = (
    st.sampled_from([0x00, 0x7F, 0x80, 0xCC, 0xFF, -1, 256, None, 1.0, ""]).map(msgpack.packb)
    | st.sampled_from([0x00, 0x7F, 0x80, 0xCC, 0xFF]).map(msgpack.packb)
    | st.builds(lambda width, value: width % value, st.sampled_from(WIDTHS), st.sampled_from([0x05, 0xCC]))
)


@pytest.fixture(params=[1, 2, 3, 7, integers.BLOCK])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks so small that every boundary is met."""
    monkeypatch.setattr(integers, "BLOCK", request.param)
    size: int = request.param
    return size


def octets(data: bytes) -> integers.Octets:
    return np.frombuffer(data, dtype=np.uint8)


def elements(values: list[object]) -> bytes:
    """The objects without the header of their array."""
    return b"".join(map(msgpack.packb, values))


@pytest.mark.usefixtures("block")
class TestAnyBlock:
    @given(data=tricky | st.binary(max_size=60))
    def test_bytes_are_written_as_msgpack_writes_them(self, data: bytes) -> None:
        assert b"".join(block.tobytes() for block in expand(octets(data))) == elements(list(data))

    @given(data=tricky | st.binary(max_size=60))
    def test_bytes_are_read_as_they_were(self, data: bytes) -> None:
        assert collapse(octets(elements(list(data))), len(data), "weights").tobytes() == data

    @given(data=st.lists(st.integers(0, 255) | st.integers(-200, 300), max_size=20))
    def test_only_integers_of_a_byte_are_read(self, data: list[int]) -> None:
        encoded = octets(elements(list(data)))
        if all(0 <= value <= 255 for value in data):
            assert collapse(encoded, len(data), "weights").tolist() == data
        else:
            with pytest.raises(InvalidUpdate, match="weights has an element that is no integer of 0–255"):
                collapse(encoded, len(data), "weights")

    @given(widths=st.lists(st.sampled_from(WIDTHS), max_size=9))
    def test_integers_of_any_width_are_read(self, widths: list[bytes]) -> None:
        encoded = b"".join(width % index for index, width in enumerate(widths))
        assert collapse(octets(encoded), len(widths), "weights").tolist() == list(range(len(widths)))

    @given(objects=st.lists(any_object, max_size=20))
    def test_a_stream_is_read_as_it_is_one_by_one(self, objects: list[bytes]) -> None:
        values = list(map(msgpack.unpackb, objects))
        encoded = octets(b"".join(objects))
        if all(type(value) is int and 0 <= value <= 255 for value in values):
            assert collapse(encoded, len(values), "weights").tolist() == values
        else:
            with pytest.raises(InvalidUpdate, match="weights has an element that is no integer of 0–255"):
                collapse(encoded, len(values), "weights")


@pytest.mark.parametrize("before", [b"", b"\x01", b"\x80\x01"])
def test_runs_longer_than_a_block_are_read(before: bytes) -> None:
    noise = np.random.default_rng(0).integers(0, 256, integers.BLOCK, np.uint8).tobytes()
    data = before + b"\xcc" * (integers.BLOCK + 1) + noise + b"\xcc"
    encoded = np.concatenate(list(expand(octets(data))))
    assert collapse(encoded, len(data), "weights").tobytes() == data


def test_reading_takes_little_more_memory_than_its_result() -> None:
    data = np.random.default_rng(0).integers(0, 256, 32 * integers.BLOCK, np.uint8)
    encoded = np.concatenate(list(expand(data)))
    tracemalloc.start()
    try:
        collapse(encoded, data.size, "weights")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < data.size + 16 * integers.BLOCK


@pytest.mark.parametrize("value", [True, None, 1.0, "", "a", [], [1], {}, b"", b"a", -1, 256, 2**64 - 1])
def test_nothing_but_integers_is_read(value: object) -> None:
    with pytest.raises(InvalidUpdate):
        collapse(octets(elements([1, value, 200])), 3, "weights")


def test_a_wrong_count_gives_no_bytes_that_never_came() -> None:
    assert collapse(octets(b"\x01\x02"), 2**32 - 1, "weights").tolist() == [1, 2]


@pytest.mark.parametrize(
    "value", ["text", b"bytes", [1], {"a": 1}, msgpack.ExtType(1, b"x"), msgpack.Timestamp(1)]
)
def test_scalars_refuse_content_before_it_is_read(value: object) -> None:
    with pytest.raises(ValueError):
        list(scalars(octets(msgpack.packb(value)), frozenset({int, type(value)})))
