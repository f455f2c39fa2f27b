"""Weights on the wire, in all three forms.

Inside, they are always the msgpack of ``[{shape: [int…], data}, …]``, a map a tensor, in the model's order.
`WeightsForm` tells what ``data`` is and how that msgpack lies in the message around it:

    form      data                        in the message    bytes a parameter
    packed    ext 0x17, little-endian     bin               4
    floats    array of float32            bin               5
    integers  array of numbers            array of bytes    8; from npm's v2 client 13

Packed tensors are read as views and written with one copy. Numbers are converted by numpy at once where all of
a tensor's are of one width, as they are in practice.

Source: DISCO v2 wire, `weights` ("Encoded"); DISCO v3 and v4 wire, `payload`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Raw, Struct

from disco.core.weights import Float32s, Shape, Weights
from disco.errors import InvalidUpdate
from disco.wire.dialect import Buffer, WeightsForm
from disco.wire.envelope import Spliced, unpack
from disco.wire.headers import Header, Kind, array_header, bin_header, ext_header, read_header
from disco.wire.integers import Octets, collapse, collapse_first, expand, scalars

#: Extension type of a Float32Array.
FLOAT32_ARRAY = 0x17

#: More tensors than any model has, and few enough that a message of empty ones costs little.
MAX_TENSORS = 65_536
#: As many as numpy has always had.
MAX_DIMENSIONS = 32
#: Elements of a tensor as numpy counts them for its shape, that is without dimensions of 0.
MAX_ELEMENTS = 2**40

#: How far into a message its weights are looked for, to be lifted out of it.
_HEAD_BYTES = 64
#: What stands in a message for integers that were lifted out of it: an extension that nobody uses.
PLACE = b"\xd4\x7e\x00"

_FLOAT32, _FLOAT64, _ARRAY32 = 0xCA, 0xCB, 0xDD
_FLOAT32S = np.dtype("<f4")
_FLOAT32_OBJECT = np.dtype([("opcode", "u1"), ("value", ">f4")])


class _Tensor(Struct):
    """One tensor as it lies in the message."""

    shape: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(max_length=MAX_DIMENSIONS)]
    data: Raw


_TENSORS = msgspec.msgpack.Decoder(Annotated[list[_Tensor], Meta(max_length=MAX_TENSORS)])


def read_weights(value: Buffer | Raw, field: str) -> tuple[Weights, WeightsForm]:
    """Read weights as they lie in a message, in any form.

    Args:
        value: one whole msgpack object, or nothing.
        field: the name of the message's field, for errors.

    Returns:
        The weights, and the form in which to answer whoever sent them. Packed tensors are read-only views into
        `value`.

    Raises:
        InvalidUpdate: they cannot be read; the message names the field, as in ``weights[2].shape``.
    """
    view = memoryview(value)
    if not view.nbytes:
        raise InvalidUpdate(f"{field} is missing")
    header = read_header(view)
    if header.kind is Kind.BIN:
        return decode_weights(view[header.start :], field)
    if header.kind is Kind.ARRAY:
        content = np.frombuffer(view, dtype=np.uint8)[header.start :]
        weights, _ = decode_weights(collapse(content, header.length, field).data, field)
        return weights, WeightsForm.INTEGERS
    raise InvalidUpdate(f"{field} is {header.kind}, expected bytes")


@dataclass(frozen=True, slots=True)
class Lifted:
    """A message without the integers that its weights are.

    Args:
        rest: the message, with something short in their place.
        octets: what they are.
    """

    rest: bytes
    octets: Octets

    def belongs(self, value: object) -> bool:
        """Tell whether this value of a field, as it is in `rest`, is what stands for the integers."""
        return isinstance(value, Raw) and bytes(value) == PLACE and self.rest.count(PLACE) == 1


def lift(message: Buffer, field: str) -> Lifted | None:
    """Take an array of integers out of a message before that is read, for a reader would walk over every one.

    That the bytes found are the field is a guess, which `Lifted.belongs` confirms: the field's value is then what
    stands here alone, so that a reader of the whole message comes here, too, expecting a value; it finds the array,
    which ends where it was cut off; and all the rest it reads is the same.

    Args:
        message: any bytes.
        field: the name of the field.

    Returns:
        None when there is none near the beginning, or when its integers are not in their shortest form.
    """
    view = memoryview(message)
    name = field.encode()
    head = bytes(view[:_HEAD_BYTES])
    start = head.find(name) + len(name)
    if start < len(name) or start >= len(head) - 5 or head[start] != _ARRAY32:
        return None
    header = read_header(view[start : start + 5])
    found = collapse_first(np.frombuffer(view, dtype=np.uint8)[start + header.start :], header.length)
    if found is None:
        return None
    octets, size = found
    rest = b"".join((head[:start], PLACE, view[start + header.start + size :]))
    return Lifted(rest, octets)


def decode_weights(encoded: Buffer, field: str) -> tuple[Weights, WeightsForm]:
    """Read the inner msgpack.

    Args:
        encoded: the msgpack of a list of tensors.
        field: what it is called in errors.

    Returns:
        The weights, and whether they were packed or plain numbers. Packed tensors are views into `encoded`.

    Raises:
        InvalidUpdate: they cannot be read; the message names the tensor and what was expected.
    """
    found = unpack(_TENSORS, encoded, root=field, error=InvalidUpdate)
    shapes, tensors, form = [], [], WeightsForm.FLOATS
    for index, tensor in enumerate(found):
        name, shape = f"{field}[{index}]", tuple(tensor.shape)
        view = memoryview(tensor.data)
        header = read_header(view)
        tensors.append(_read_tensor(view, header, shape, name))
        shapes.append(shape)
        if header.kind is Kind.EXT:
            form = WeightsForm.PACKED
    return Weights(tuple(shapes), tuple(tensors)), form


def _read_tensor(data: memoryview, header: Header, shape: Shape, name: str) -> Float32s:
    """Read one tensor's values as a 1-D array."""
    count = math.prod(shape)
    if math.prod(max(size, 1) for size in shape) > MAX_ELEMENTS:
        raise InvalidUpdate(f"{name}.shape is {list(shape)}, too large for any tensor")
    if header.kind is Kind.EXT and header.code == FLOAT32_ARRAY:
        _require_length(header.length, 4 * count, "bytes", shape, name)
        return np.frombuffer(data, _FLOAT32S, count, header.start) if count else np.empty(0, _FLOAT32S)
    if header.kind is Kind.ARRAY:
        _require_length(header.length, count, "elements", shape, name)
        return _read_numbers(np.frombuffer(data, dtype=np.uint8)[header.start :], count, name)
    if header.kind is Kind.EXT:
        raise InvalidUpdate(
            f"{name}.data is extension {header.code:#04x}, expected {FLOAT32_ARRAY:#04x} or numbers"
        )
    raise InvalidUpdate(
        f"{name}.data is {header.kind}, expected an array of numbers or extension {FLOAT32_ARRAY:#04x}"
    )


def _require_length(found: int, wanted: int, unit: str, shape: Shape, name: str) -> None:
    """Check that the data are as many as the shape says."""
    if found != wanted:
        raise InvalidUpdate(f"{name}.data has {found} {unit} where shape {list(shape)} needs {wanted}")


def _read_numbers(content: Octets, count: int, name: str) -> Float32s:
    """Convert `count` msgpack numbers; beyond float32's range they become infinite, as in JavaScript."""
    if not count:
        return np.empty(0, dtype="<f4")
    with np.errstate(over="ignore", invalid="ignore"):
        for opcode, width, kind in ((_FLOAT64, 9, ">f8"), (_FLOAT32, 5, ">f4")):
            # Whole objects of `width` bytes each: every opcode seen here begins the next.
            if content.size == width * count and (content[::width] == opcode).all():
                return np.ndarray((count,), kind, content, 1, (width,)).astype("<f4")
        # An object takes a byte at least, so these are all of one byte: small integers, or no numbers.
        if content.size == count and ((content < 0x80) | (content >= 0xE0)).all():
            return content.view(np.int8).astype("<f4")
        return _read_mixed(content, count, name)


def _read_mixed(content: Octets, count: int, name: str) -> Float32s:
    """Convert numbers of any widths, one by one."""
    numbers = np.empty(count, dtype="<f4")
    filled = 0
    try:
        for values in scalars(content, frozenset({int, float})):
            numbers[filled : filled + len(values)] = values
            filled += len(values)
    except ValueError as error:
        raise InvalidUpdate(f"{name}.data has an element that is no number") from error
    return numbers


def write_weights(weights: Weights, form: WeightsForm) -> Spliced:
    """Write weights as they lie in a message, once for each form; packed tensors are views into the weights."""
    written: Spliced | None = weights.written.get(form)
    if written is None:
        written = weights.written[form] = _write(weights, form)
    return written


def _write(weights: Weights, form: WeightsForm) -> Spliced:
    if form is WeightsForm.INTEGERS:
        octets = np.frombuffer(encode_weights(weights, form), dtype=np.uint8)
        return Spliced((array_header(octets.size), b"".join(block.data for block in expand(octets))))
    pieces = _pieces(weights, packed=form is WeightsForm.PACKED)
    length = sum(memoryview(piece).nbytes for piece in pieces)
    return Spliced((bin_header(length), *pieces))


def encode_weights(weights: Weights, form: WeightsForm = WeightsForm.PACKED) -> bytes:
    """Write the inner msgpack (what `decode_weights` reads); plain numbers unless packed."""
    return b"".join(_pieces(weights, packed=form is WeightsForm.PACKED))


def _pieces(weights: Weights, *, packed: bool) -> list[Buffer]:
    """Write the inner msgpack in pieces."""
    pieces: list[Buffer] = [array_header(len(weights.tensors))]
    for shape, tensor in zip(weights.shapes, weights.tensors, strict=True):
        pieces.append(_head(shape))
        pieces.extend(_packed(tensor) if packed else _numbers(tensor))
    return pieces


def _head(shape: Shape) -> bytes:
    """Write a tensor's map up to its data."""
    return b"\x82\xa5shape" + msgspec.msgpack.encode(shape) + b"\xa4data"


def _packed(tensor: Float32s) -> Iterator[Buffer]:
    """Write values as one extension."""
    yield ext_header(FLOAT32_ARRAY, 4 * tensor.size)
    yield np.ascontiguousarray(tensor, dtype="<f4").view(np.uint8).data


def _numbers(tensor: Float32s) -> Iterator[Buffer]:
    """Write values as an array of float32."""
    yield array_header(tensor.size)
    numbers = np.empty(tensor.size, dtype=_FLOAT32_OBJECT)
    numbers["opcode"] = _FLOAT32
    numbers["value"] = tensor
    yield numbers.view(np.uint8).data
