"""What changes of updates have in common: distances from the current model, and steps along them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from disco.core.weights import Float32s, Weights

#: Elements looked at in one go; in float64 they are half a core's cache.
_STEP = 1 << 15


def pieces(update: Weights) -> Iterator[tuple[int, Float32s]]:
    """Walk an update's elements: pairs of a place in the flat model and the elements from there on."""
    offset = 0
    for tensor in update.tensors:
        for start in range(0, tensor.size, _STEP):
            yield offset + start, tensor[start : start + _STEP]
        offset += tensor.size


def distance(update: Weights, origin: Float32s) -> float:
    """Return ‖update - origin‖, summed in float64; NaN or infinite if, and only if, a value is not finite."""
    square = 0.0
    room = np.empty(_STEP)
    with np.errstate(invalid="ignore"):  # infinity - infinity
        for place, block in pieces(update):
            change = room[: block.size]
            np.subtract(block, origin[place : place + block.size], out=change, dtype=np.float64)
            square += float(np.dot(change, change))
    return math.sqrt(square) if math.isfinite(square) else math.nan


def stepped(update: Weights, base: Float32s, scale: float, origin: Float32s, out: Float32s) -> None:
    """Write origin + scale (update - base) to `out`, rounded to float32 once."""
    room = np.empty(_STEP)
    for place, block in pieces(update):
        there = slice(place, place + block.size)
        change = room[: block.size]
        np.subtract(block, base[there], out=change, dtype=np.float64)
        change *= scale
        np.add(change, origin[there], out=out[there], casting="same_kind")
