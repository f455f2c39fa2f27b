"""A running sum of updates that is exact, and so does not depend on the order in which they arrive.

A float64 has 53 bits, a float32 24. So a float64 sums exactly what lies within one *window* of exponents:

    ◀────────────────────────── 53 bits ──────────────────────────▶
    │ headroom: 14 bits │ window: 16 exponents │ 23 bits of fraction │     2**14 addends of share 1

Each block of the model gets its window from the size of the current global model's values there: it reaches from
some 1/4000 of their mean to some 16 times that, and nearly every value of an update falls in it. The few that do
not (*odd* values: the tiniest, outliers, and everything of an update that is far off) are summed apart, by
coordinate and by window, as exactly. The sums over windows are added in one fixed order at the end.

Adding 10M parameters takes 13 ms on one core of a 2-core machine, where a plain float64 sum takes 9 ms and a
compensated one (two float64 a parameter) 29 ms. Finiteness is checked on the way: NaN and infinity are odd.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disco.core.weights import BLOCK, Float32s, Weights
from disco.errors import InvalidUpdate

#: Bits that sums of 16,384 equal shares, or of whole shares that sum up to it, need above the largest value.
EQUAL_HEADROOM = 14

#: Of a float64 and of a float32, the first bit included.
_BITS, _FLOAT32_BITS = 53, 24

#: Exponents as float32 stores them: what 1.0 has, and what infinity and NaN have.
_BIAS, _NOT_FINITE = 127, 255

#: Where an odd value belongs: ``coordinate << _WINDOW_BITS | window``, windows counted from the lowest possible.
_WINDOW_BITS, _MIDDLE = 6, 32

_LARGEST = float(np.finfo(np.float32).max)

#: Values of a block whose global model is all zero are taken to be about as large as this.
_USUAL = 0.05

#: Odd values that wait until they are summed by coordinate.
_PATIENCE = 1 << 18


@dataclass(frozen=True, slots=True)
class _Piece:
    """Up to `BLOCK` elements of one tensor: where they are, and the lowest exponent of their window."""

    tensor: int
    start: int
    stop: int
    offset: int
    lowest: int


class ExactTotal:
    """Σ sₖ wₖ over updates wₖ with whole shares sₖ.

    Exact, and so bit for bit the same in any order, as long as the shares sum up to at most 2**headroom. Beyond
    that it is as exact as any float64 sum.

    Memory: 8 bytes a parameter, 16 an odd value's coordinate (a thousandth of all, unless updates are far off),
    and about 1 MiB.
    """

    def __init__(self, headroom: int = EQUAL_HEADROOM) -> None:
        """Make an empty one of no model.

        Args:
            headroom: bits, at most 20: more make windows narrow, and many values odd.
        """
        self._window = _BITS - (_FLOAT32_BITS - 1) - headroom
        self._current = Weights.zeros(())
        self._prepared = False
        self._pieces: list[_Piece] = []
        self._sums: NDArray[np.float64] = np.zeros(0)
        self._odd: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
        self._waiting = 0
        self._values: Float32s = np.empty(BLOCK, dtype=np.float32)
        self._bits: NDArray[np.uint32] = np.empty(BLOCK, dtype=np.uint32)
        self._marks: NDArray[np.bool_] = np.empty(BLOCK, dtype=np.bool_)
        self._wide: NDArray[np.float64] = np.empty(0)

    def begin(self, current: Weights) -> None:
        """Start from zero, for updates of the current model's structure and about its size."""
        self._current, self._prepared = current, False

    def prepare(self) -> None:
        """Make ready for the first `add`, which does so itself if nobody had the time to."""
        if self._prepared:
            return
        if self._sums.size != self._current.parameters:
            self._sums = np.zeros(self._current.parameters)
        else:
            self._sums.fill(0.0)
        self._odd, self._waiting = [], 0
        self._pieces = list(self._cut(self._current))
        self._prepared = True

    def add(self, update: Weights, share: float) -> None:
        """Add one update.

        Args:
            update: of the current model's structure.
            share: a whole number from 1 up; others are summed as float64 sums them.

        Raises:
            InvalidUpdate: the structure differs, a value is not finite, or the share is none; nothing has changed.
        """
        update.require_structure(self._current.shapes)
        if not 0 < share < math.inf:
            raise InvalidUpdate(f"share must be above 0 and finite, not {share}")
        self.prepare()
        known = len(self._odd)
        for number, piece in enumerate(self._pieces):
            if not self._fold(piece, update, share):
                # Sums are exact, so taking back what was added leaves what was there before.
                for done in self._pieces[:number]:
                    self._fold(done, update, -share)
                del self._odd[known:]
                raise InvalidUpdate(f"weights[{piece.tensor}].data has a value that is not finite")
        self._waiting += sum(keys.size for keys, _ in self._odd[known:])
        if self._waiting > max(_PATIENCE, self._sums.size // 16):
            self._settle()

    def divided(self, by: float) -> Weights:
        """Return the sum divided by a number, rounded to float32 once, in a buffer of its own."""
        self.prepare()
        flat = np.empty(self._sums.size, dtype=np.float32)
        np.divide(self._sums, by, out=flat, casting="same_kind")
        self._settle()
        for keys, values in self._odd:
            coordinates = keys >> _WINDOW_BITS
            first = _firsts(coordinates)
            where = coordinates[first]
            flat[where] = (self._sums[where] + np.add.reduceat(values, first)) / by
        return Weights.from_flat(flat, self._current.shapes)

    def _cut(self, current: Weights) -> list[_Piece]:
        """Cut a model in pieces, each with the window that fits its values."""
        places, sizes = [], []
        offset = 0
        with np.errstate(over="ignore"):  # a sum that overflows is as large as windows go
            for index, tensor in enumerate(current.tensors):
                for start in range(0, tensor.size, BLOCK):
                    block = tensor[start : start + BLOCK]
                    places.append((index, start, start + block.size, offset + start))
                    sizes.append(float(np.abs(block).sum()) / block.size)
                offset += tensor.size
        known = [size for size in sizes if size]
        usual = sum(known) / len(known) if known else _USUAL
        return [
            _Piece(*place, self._lowest(size or usual)) for place, size in zip(places, sizes, strict=True)
        ]

    def _lowest(self, size: float) -> int:
        """Return the lowest stored exponent of the window for values of about `size`."""
        above = min(4, self._window // 3)
        lowest = math.frexp(min(size, _LARGEST))[1] + above + _BIAS - self._window
        return min(max(lowest, 0), _NOT_FINITE - self._window)

    def _fold(self, piece: _Piece, update: Weights, share: float) -> bool:
        """Add the values of one piece; if one is not finite, change nothing and tell."""
        size = piece.stop - piece.start
        values, bits, marks = self._values[:size], self._bits[:size], self._marks[:size]
        np.copyto(values, update.tensors[piece.tensor][piece.start : piece.stop])  # aligned from here on
        np.left_shift(values.view(np.uint32), np.uint32(1), out=bits)  # the sign falls off
        np.subtract(bits, np.uint32(piece.lowest << 24), out=bits)
        np.greater_equal(bits, np.uint32(self._window << 24), out=marks)
        if marks.any() and not self._set_apart(piece, values, marks, share):
            return False
        sums = self._sums[piece.offset : piece.offset + size]
        if share == 1.0:
            np.add(sums, values, out=sums)
        else:
            np.add(sums, self._scaled(values, share), out=sums)
        return True

    def _set_apart(self, piece: _Piece, values: Float32s, marks: NDArray[np.bool_], share: float) -> bool:
        """Move odd values to the odd sums, leaving zeros; if one is not finite, change nothing and tell."""
        odd = np.flatnonzero(marks)
        found = values[odd]
        if not found.all():  # zeros are odd to the comparison only
            odd, found = odd[found != 0], found[found != 0]
        exponents = (found.view(np.uint32) >> np.uint32(23) & np.uint32(_NOT_FINITE)).astype(np.int64)
        if (exponents == _NOT_FINITE).any():
            return False
        windows = (exponents - piece.lowest) // self._window + _MIDDLE
        self._odd.append(((odd + piece.offset) << _WINDOW_BITS | windows, found * np.float64(share)))
        values[odd] = 0.0
        return True

    def _scaled(self, values: Float32s, share: float) -> NDArray[np.float64]:
        if not self._wide.size:
            self._wide = np.empty(BLOCK)
        scaled = self._wide[: values.size]
        np.multiply(values, share, out=scaled, dtype=np.float64)
        return scaled

    def _settle(self) -> None:
        """Sum odd values by coordinate and window. What lies in one window is summed exactly, in any order."""
        if len(self._odd) > 1:
            keys = np.concatenate([keys for keys, _ in self._odd])
            values = np.concatenate([values for _, values in self._odd])
            order = np.argsort(keys)
            keys, values = keys[order], values[order]
            first = _firsts(keys)
            self._odd = [(keys[first], np.add.reduceat(values, first))] if keys.size else []
        self._waiting = 0


def _firsts(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where runs of equal keys begin in sorted `keys`."""
    if not keys.size:
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
