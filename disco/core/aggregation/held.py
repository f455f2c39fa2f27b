"""Updates that a robust rule has to hold until its round closes, walked a few coordinates at a time.

Rows are float32 copies, 4 bytes a parameter each: K contributions hold K models. Where they lie is the `Space`'s
affair: in memory, and beyond a limit in temporary files that are mapped (`disco.storage.spill`). Work over them
goes block by block, so that it needs about 2 MiB and no second copy, and in an order that depends on the rows'
content alone, so that results are bit for bit independent of the order of arrival.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cmp_to_key
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from disco.core.names import ParticipantID
from disco.core.weights import BLOCK, Float32s, Weights

#: Rows by coordinates: one block of held updates.
Matrix32: TypeAlias = NDArray[np.float32]
Matrix64: TypeAlias = NDArray[np.float64]

#: Elements over all rows of one block, about what a core's cache holds.
_ELEMENTS = 1 << 18


class Space(Protocol):
    """Where rows lie."""

    def take(self, parameters: int) -> Float32s:
        """Return an array of this size with any content.

        Raises:
            StorageError: there is no room for it.
        """

    def give_back(self, row: Float32s) -> None:
        """Let go of an array that `take` returned."""


class InMemory:
    """A `Space` without a limit."""

    def take(self, parameters: int) -> Float32s:
        """Return a fresh array."""
        return np.empty(parameters, dtype=np.float32)

    def give_back(self, row: Float32s) -> None:
        """Do nothing: the array goes with its last reference."""


class Holding(ABC):
    """A rule that holds a round's updates, each with its share, and joins them when the round closes."""

    def __init__(self, space: Space | None = None) -> None:
        """Make one that has not begun, holding updates in `space`; in memory if None."""
        self._space = space or InMemory()
        self._held: list[tuple[Float32s, float]] = []
        self._current = Weights.zeros(())

    def begin(self, current: Weights) -> None:
        """Start a round; what was held is let go."""
        while self._held:
            self._space.give_back(self._held.pop()[0])
        self._current = current

    def add(self, update: Weights, share: float, sender: ParticipantID | None = None) -> None:
        """Hold a copy of one update.

        Raises:
            InvalidUpdate: the structure differs or a value is not finite; nothing has changed.
            StorageError: there is no room for it; nothing has changed.
        """
        update.require_structure(self._current.shapes)
        update.require_finite()
        row = self._space.take(update.parameters)
        copy_into(row, update)
        self._held.append((row, share))

    def finish(self) -> Weights:
        """Join what is held; the current model if nothing was added."""
        if not self._held:
            return self._current
        entries = ordered(self._held)
        rows, shares = [row for row, _ in entries], np.array([share for _, share in entries])
        return Weights.from_flat(self._join(rows, shares, self._current.flat), self._current.shapes)

    @abstractmethod
    def _join(self, rows: list[Float32s], shares: NDArray[np.float64], current: Float32s) -> Float32s:
        """Return the new model, in a buffer of its own, from one row or more, ordered by content."""


def ordered(entries: Iterable[tuple[Float32s, float]]) -> list[tuple[Float32s, float]]:
    """Sort rows by their content, and equal ones by their share."""
    return sorted(entries, key=cmp_to_key(_by_content))


def copy_into(row: Float32s, update: Weights) -> None:
    """Copy an update's tensors, one after the other, into a row of as many elements. -0 becomes 0."""
    offset = 0
    for tensor in update.tensors:
        np.add(tensor, np.float32(0.0), out=row[offset : offset + tensor.size])
        offset += tensor.size


def spans(rows: int, parameters: int) -> Iterator[tuple[int, int]]:
    """Cut coordinates so that a block of all rows stays in a core's cache: pairs of start and stop."""
    step = max(_ELEMENTS // max(rows, 1), 256)
    for start in range(0, parameters, step):
        yield start, min(start + step, parameters)


def stacked(rows: Sequence[Float32s]) -> Iterator[tuple[int, int, Matrix32]]:
    """Walk rows block by block.

    Yields:
        Start, stop, and a copy of these coordinates of all rows, shaped (rows, coordinates). The next block takes
        its place.
    """
    room: Matrix32 | None = None
    for start, stop in spans(len(rows), rows[0].size):
        if room is None:
            room = np.empty((len(rows), stop - start), dtype=np.float32)
        block = room[:, : stop - start]
        for index, row in enumerate(rows):
            block[index] = row[start:stop]
        yield start, stop, block


def differences(rows: Sequence[Float32s], origin: Float32s) -> Iterator[tuple[int, int, Matrix64]]:
    """Walk rows - origin block by block, exact in float64.

    Yields:
        Start, stop, and the differences, shaped (rows, coordinates). The next block takes its place.
    """
    room: Matrix64 | None = None
    for start, stop in spans(2 * len(rows), origin.size):
        if room is None:
            room = np.empty((len(rows), stop - start))
        block = room[:, : stop - start]
        for index, row in enumerate(rows):
            np.subtract(row[start:stop], origin[start:stop], out=block[index], dtype=np.float64)
        yield start, stop, block


def squared_distances(rows: Sequence[Float32s], origin: Float32s) -> Matrix64:
    """Return ‖uᵢ - uⱼ‖² for all pairs, shaped (rows, rows), from the Gram matrix of the rows' changes.

    Changes uᵢ = rowᵢ - origin are taken exactly and summed in float64. With raw float32 weights x, the same
    ‖x‖² + ‖y‖² - 2xy loses what is small beside the weights themselves, and comes out negative.
    """
    gram = np.zeros((len(rows), len(rows)))
    for _, _, changes in differences(rows, origin):
        gram += changes @ changes.T
    norms = np.diagonal(gram)
    squares: Matrix64 = np.maximum(norms[:, None] + norms[None, :] - 2.0 * gram, 0.0)
    np.fill_diagonal(squares, 0.0)
    return squares


def combined(rows: Sequence[Float32s], shares: NDArray[np.float64], origin: Float32s) -> Float32s:
    """Return origin + Σ sₖ (rowₖ - origin), in a buffer of its own, summed in float64 in the order given."""
    flat = np.empty(origin.size, dtype=np.float32)
    for start, stop, changes in differences(rows, origin):
        changes *= shares[:, None]
        np.add(changes.sum(axis=0), origin[start:stop], out=flat[start:stop], casting="same_kind")
    return flat


def _by_content(one: tuple[Float32s, float], other: tuple[Float32s, float]) -> int:
    """Compare rows as sequences of numbers, and equal ones by their share."""
    (row, share), (other_row, other_share) = one, other
    for start in range(0, row.size, BLOCK):
        left, right = row[start : start + BLOCK], other_row[start : start + BLOCK]
        if left[0] == right[0]:
            unequal = np.flatnonzero(left != right)
            if not unequal.size:
                continue
            left, right = left[unequal[0] :], right[unequal[0] :]
        return -1 if left[0] < right[0] else 1
    return (share > other_share) - (share < other_share)
