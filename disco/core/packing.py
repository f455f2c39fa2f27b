"""The msgpack of DISCO's clients as far as models need it: their two extension types, and a GPT's tensors.

Source: DISCO's serialization of models; ext 0x17 is a JavaScript Float32Array, 0x1a an ArrayBuffer, both raw
little-endian bytes at any alignment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from disco.core.weight_specs import is_size
from disco.core.weights import Float32s, Weights

EXT_FLOAT32S = 0x17
EXT_BYTES = 0x1A

FLOAT32 = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class Extension:
    """A msgpack extension, its bytes a view into the message."""

    code: int
    data: memoryview


def unpack(data: bytes | memoryview) -> Any:
    """Decode msgpack into plain values and `Extension`.

    Raises:
        ValueError: `data` is no msgpack; never another exception.
    """
    try:
        return msgspec.msgpack.decode(data, ext_hook=Extension)
    except (msgspec.MsgspecError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def pack(value: Any) -> bytes:
    """Encode plain values and what `array_buffer` returns as msgpack."""
    return msgspec.msgpack.encode(value)


def array_buffer(data: bytes) -> msgspec.msgpack.Ext:
    """Wrap bytes so that JavaScript gets an ArrayBuffer."""
    return msgspec.msgpack.Ext(EXT_BYTES, data)


def raw_bytes(value: Any) -> bytes | memoryview | None:
    """Return the bytes of an ArrayBuffer, a Float32Array or a ``bin``; None of anything else."""
    match value:
        case bytes():
            return value
        case Extension(code=code, data=data) if code in (EXT_BYTES, EXT_FLOAT32S):
            return data
        case _:
            return None


def unpack_tensor(entry: Any) -> Float32s | None:
    """Read one ``{shape, data: ext 0x17}`` as a view of its shape; None if `entry` is anything else."""
    match entry:
        case {"shape": [*shape], "data": Extension(code=code, data=data)} if code == EXT_FLOAT32S:
            sizes = [int(size) for size in shape] if all(map(is_size, shape)) else None
            if sizes is not None and 4 * math.prod(sizes) == len(data):
                return np.frombuffer(data, dtype=FLOAT32).reshape(sizes)
    return None


def pack_tensors(weights: Weights) -> bytes:
    """Write weights as the msgpack of ``[{shape, data: ext 0x17}, …]``."""
    return msgspec.msgpack.encode(
        [
            {"shape": shape, "data": msgspec.msgpack.Ext(EXT_FLOAT32S, tensor.astype(FLOAT32).tobytes())}
            for shape, tensor in zip(weights.shapes, weights.tensors, strict=True)
        ]
    )
