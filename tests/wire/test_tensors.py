"""Weights on the wire."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from disco.core.weights import Weights
from disco.errors import InvalidUpdate
from disco.wire.dialect import WeightsForm
from disco.wire.tensors import MAX_TENSORS, decode_weights, encode_weights, read_weights, write_weights
from tests.wire.strategies import weights

FORMS = list(WeightsForm)
every_form = pytest.mark.parametrize("form", FORMS)

any_float32 = arrays.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32))


def written(model: Weights, form: WeightsForm) -> bytes:
    return b"".join(write_weights(model, form).pieces)


def tensor(shape: Any, data: Any) -> bytes:
    """One tensor as another encoder may write it."""
    packed: bytes = msgpack.packb([{"shape": shape, "data": data}])
    return packed


def read_one(encoded: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    decoded, _ = decode_weights(encoded, "weights")
    (values,) = decoded.tensors
    return values


# ── There and back ───────────────────────────────────────────────────────────────────────────────────────


@every_form
@given(model=weights())
def test_weights_survive(form: WeightsForm, model: Weights) -> None:
    decoded, _ = read_weights(written(model, form), "weights")
    assert decoded.equals(model)


@every_form
@given(values=any_float32)
def test_values_survive_bit_for_bit(form: WeightsForm, values: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    decoded, _ = read_weights(written(Weights.from_arrays([values]), form), "weights")
    (found,) = decoded.tensors
    same = found.view(np.uint32) == values.view(np.uint32)
    assert (same | (np.isnan(found) & np.isnan(values))).all()


@every_form
def test_the_form_is_recognised(form: WeightsForm) -> None:
    _, found = read_weights(written(Weights.from_arrays([[1.0]]), form), "weights")
    assert found is form


@every_form
@given(model=weights(), offset=st.integers(0, 7))
def test_weights_are_read_at_any_alignment(form: WeightsForm, model: Weights, offset: int) -> None:
    data = memoryview(bytes(offset) + written(model, form))[offset:]
    assert read_weights(data, "weights")[0].equals(model)


@every_form
def test_a_tensor_that_is_a_view_with_gaps_is_written(form: WeightsForm) -> None:
    gaps = np.arange(20, dtype=np.float32)[::2]
    decoded, _ = read_weights(written(Weights((gaps.shape,), (gaps,)), form), "weights")
    assert np.array_equal(decoded.tensors[0], gaps)


@pytest.mark.parametrize("size", [0, 1, 4, 15, 16, 63, 64, 65, 16_383, 16_384, 65_535, 65_536])
@every_form
def test_every_width_of_length_is_written(form: WeightsForm, size: int) -> None:
    model = Weights.from_arrays([np.arange(size)])
    assert read_weights(written(model, form), "weights")[0].equals(model)


@pytest.mark.parametrize("tensors", [15, 16, 70_000])
def test_every_number_of_tensors_is_written_and_too_many_are_refused(tensors: int) -> None:
    encoded = encode_weights(Weights.from_arrays([np.zeros(0)] * tensors))
    if tensors <= MAX_TENSORS:
        assert len(decode_weights(encoded, "weights")[0].shapes) == tensors
    else:
        with pytest.raises(InvalidUpdate, match=r"weights: expected array of length <= 65536"):
            decode_weights(encoded, "weights")


def test_the_encoding_is_what_other_msgpack_libraries_read() -> None:
    model = Weights.from_arrays([[[1.0, 2.0]], 3.0])
    assert msgpack.unpackb(encode_weights(model, WeightsForm.FLOATS)) == [
        {"shape": [1, 2], "data": [1.0, 2.0]},
        {"shape": [], "data": [3.0]},
    ]
    assert msgpack.unpackb(encode_weights(model)) == [
        {"shape": [1, 2], "data": msgpack.ExtType(0x17, np.array([1, 2], "<f4").tobytes())},
        {"shape": [], "data": msgpack.ExtType(0x17, np.array([3], "<f4").tobytes())},
    ]
    integers = msgpack.unpackb(written(model, WeightsForm.INTEGERS))
    assert bytes(integers) == encode_weights(model, WeightsForm.FLOATS)


# ── What other encoders write ────────────────────────────────────────────────────────────────────────────

numbers = st.lists(
    st.integers(-(2**63), 2**64 - 1) | st.floats(width=32, allow_nan=False) | st.integers(-9, 9), max_size=30
)


@given(values=numbers, single=st.booleans())
def test_numbers_of_any_width_are_converted_as_javascript_does(values: list[float], single: bool) -> None:
    packed = msgpack.packb([{"shape": [len(values)], "data": values}], use_single_float=single)
    assert np.array_equal(
        read_one(packed), np.array([np.float32(float(value)) for value in values], np.float32)
    )


@given(values=st.lists(st.floats(), min_size=1, max_size=30))
def test_float64_beyond_float32_becomes_infinite(values: list[float]) -> None:
    with np.errstate(all="ignore"):
        expected = np.array(values).astype(np.float32)
    assert np.array_equal(read_one(tensor([len(values)], values)), expected, equal_nan=True)
    assert np.array_equal(read_one(tensor([len(values) + 1], [*values, 1]))[:-1], expected, equal_nan=True)


def test_small_integers_are_converted() -> None:
    assert read_one(tensor([5], [0, 127, -1, -32, 5])).tolist() == [0, 127, -1, -32, 5]


def test_numbers_that_only_look_like_one_width_are_read_one_by_one() -> None:
    # Nine bytes in which the first opcode is float64's, though the nine are of other objects.
    assert read_one(tensor([9], [*range(8), -1])).tolist() == [*range(8), -1]
    mixed = (
        b"\x91\x82\xa5shape\x91\x03\xa4data\x93\xca\x3f\x80\x00\x00\xca\x40\x00\x00\x00\xce\xca\xca\xca\xca"
    )
    assert read_one(mixed).tolist() == [1.0, 2.0, np.float32(0xCACACACA)]


def test_integers_may_carry_packed_tensors_and_are_answered_as_integers() -> None:
    encoded = msgpack.packb(list(encode_weights(Weights.from_arrays([[1.0]]))))
    decoded, form = read_weights(encoded, "weights")
    assert decoded.tensors[0].tolist() == [1.0]
    assert form is WeightsForm.INTEGERS


# ── What is refused ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shape", "data", "reason"),
    [
        ([2], [1.0], "weights[0].data has 1 elements where shape [2] needs 2"),
        ([], [], "weights[0].data has 0 elements where shape [] needs 1"),
        ([2], msgpack.ExtType(0x17, bytes(9)), "weights[0].data has 9 bytes where shape [2] needs 8"),
        ([1], msgpack.ExtType(0x1A, bytes(4)), "weights[0].data is extension 0x1a, expected 0x17 or numbers"),
        ([1], b"1234", "weights[0].data is bytes, expected an array of numbers or extension 0x17"),
        ([1], None, "weights[0].data is nil, expected an array of numbers or extension 0x17"),
        ([1], True, "weights[0].data is a truth value, expected an array of numbers or extension 0x17"),
        ([1], 1.5, "weights[0].data is a number, expected an array of numbers or extension 0x17"),
        ([1], "1", "weights[0].data is a string, expected an array of numbers or extension 0x17"),
        ([1], {"0": 1}, "weights[0].data is a map, expected an array of numbers or extension 0x17"),
        ([1], ["1"], "weights[0].data has an element that is no number"),
        ([1], [True], "weights[0].data has an element that is no number"),
        ([2], [1.5, None], "weights[0].data has an element that is no number"),
        ([2], [[], []], "weights[0].data has an element that is no number"),
        ([-1], [], "weights[0].shape[0]: expected int >= 0"),
        ([1.0], [1], "weights[0].shape[0]: expected int, got float"),
        (4, [1], "weights[0].shape: expected array, got int"),
        ([1] * 33, [1], "weights[0].shape: expected array of length <= 32"),
        ([0, 2**62], [], f"weights[0].shape is [0, {2**62}], too large for any tensor"),
        ([2**40], [], f"weights[0].data has 0 elements where shape [{2**40}] needs {2**40}"),
    ],
)
def test_what_is_wrong_is_named(shape: Any, data: Any, reason: str) -> None:
    with pytest.raises(InvalidUpdate) as caught:
        decode_weights(tensor(shape, data), "weights")
    assert str(caught.value) == reason


def test_the_tensor_that_is_wrong_is_named_by_its_index() -> None:
    encoded = msgpack.packb([{"shape": [], "data": [1]}, {"shape": [], "data": [1]}, {"data": [1]}])
    with pytest.raises(InvalidUpdate, match=r"^payload\[2\]: object missing required field shape$"):
        decode_weights(encoded, "payload")


@given(data=st.binary(max_size=100))
def test_any_bytes_give_weights_or_an_invalid_update(data: bytes) -> None:
    for encoded in (data, b"\x91\x82\xa5shape\x91\x01\xa4data" + data):
        try:
            decoded, _ = decode_weights(encoded, "weights")
        except InvalidUpdate:
            continue
        assert len(decoded.arrays()) == len(decoded.shapes)


@pytest.mark.parametrize(
    "encoded",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\x91\x82\xa5shape\xdd\xff\xff\xff\xff\x01",
        b"\x91\x82\xa5shape\x91\x01\xa4data\xdd\xff\xff\xff\xff\x01",
        b"\x91\x82\xa5shape\x91\x01\xa4data\xc9\xff\xff\xff\xff\x17\x01",
        b"\x91\x82\xa5shape\x91\xce\xff\xff\xff\xff\xa4data\x90",
        b"\x91\x82\xa5shape\x91\x01\xa4data" + b"\x91" * 100_000,
    ],
)
def test_a_claimed_size_allocates_nothing(encoded: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidUpdate):
            decode_weights(encoded, "weights")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


# ── What it costs ────────────────────────────────────────────────────────────────────────────────────────


def test_a_packed_model_of_a_million_parameters_is_read_without_a_copy() -> None:
    data = written(Weights.zeros([(1000, 1000)]), WeightsForm.PACKED)
    decoded, _ = read_weights(data, "weights")
    assert np.shares_memory(decoded.tensors[0], np.frombuffer(data, dtype=np.uint8))


def test_a_packed_model_is_written_from_its_own_memory() -> None:
    model = Weights.zeros([(1000, 1000)])
    *_, piece = write_weights(model, WeightsForm.PACKED).pieces
    assert np.shares_memory(np.frombuffer(piece, dtype=np.uint8), model.flat)


def test_numbers_read_one_by_one_need_little_more_than_their_result() -> None:
    values = b"\x00" * 4_000_000 + b"\xcc\x80"
    encoded = b"\x91\x82\xa5shape\x91\xce\x00\x3d\x09\x01\xa4data\xdd\x00\x3d\x09\x01" + values
    tracemalloc.start()
    try:
        decode_weights(encoded, "weights")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * 4 * 4_000_001


@pytest.mark.parametrize("form", WeightsForm)
def test_weights_are_written_once_for_each_form(form: WeightsForm) -> None:
    model = Weights.zeros(((2,),))
    assert write_weights(model, form) is write_weights(model, form)
