"""Centered clipping with momentum: DISCO's ``byzantine``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from disco.core.aggregation import State
from disco.core.aggregation.held import InMemory, Space, differences, ordered
from disco.core.names import ParticipantID
from disco.core.weights import BLOCK, Float32s, Weights

#: Rounds that a participant may miss before its momentum is forgotten.
PATIENCE_ROUNDS = 10

_CENTER = "clipping-center"

_LARGEST = float(np.finfo(np.float32).max)


class CenteredClipping:
    """w ← w + v, where v moves towards the participants' momenta by clipped steps.

        uₖ = wₖ - w                                          the change that participant k contributed
        mₖ ← (1 - β) uₖ + β mₖ                               its momentum; uₖ itself at first
        v  ← v + 1/K Σ (mₖ - v) min(1, τ / ‖mₖ - v‖)         L times, from the v of the round before

    DISCO's own clients apply the same to weights instead of changes, and begin momenta at (1 - β) wₖ, which shrinks
    the model to a tenth in the first round. On changes, as in the paper, it does not.

    Defaults: τ = 1 (``clippingRadius``), L = 1 (``maxIterations``), β = 0.9 (``beta``), as DISCO's. τ is a distance
    between weights: a τ far below an honest change makes training slow, one far above lets hostile ones through.

    Memory: 4 bytes a parameter and participant of the last 10 rounds, and 8 bytes a parameter for v. v is kept
    on disk with its round; momenta begin anew when the server restarts, and for a client that comes back under
    another ID.

    Robustness: h hostile of K participants move v by at most L τ h / K away from where the honest would move it,
    in one round; momentum keeps what is hostile from hiding in the noise between rounds.

    Source: Karimireddy et al. 2021 (arXiv 2012.10333), algorithms 1 and 2; DISCO's ``aggregator/byzantine.ts`` for
    the defaults.
    """

    def __init__(
        self, radius: float = 1.0, iterations: int = 1, beta: float = 0.9, space: Space | None = None
    ) -> None:
        """Make one that has not begun.

        Args:
            radius: τ, above 0.
            iterations: L, at least 1.
            beta: β, from 0 to below 1.
            space: where momenta are held; in memory if None.
        """
        self._radius = radius
        self._iterations = iterations
        self._beta = beta
        self._space = space or InMemory()
        self._momenta: dict[object, Float32s] = {}
        self._missed: dict[object, int] = {}
        self._senders: list[object] = []
        self._current = Weights.zeros(())
        self._center: Float32s = np.zeros(0, dtype=np.float32)
        self._next: Float32s | None = None

    def begin(self, current: Weights) -> None:
        """Start a round, from the center that the last `finish` found."""
        if self._next is not None:
            self._center, self._next = self._next, None
        self._forget_absent()
        self._senders = []
        self._current = current
        if self._center.size != current.parameters:
            self._center = np.zeros(current.parameters, dtype=np.float32)

    def add(self, update: Weights, share: float, sender: ParticipantID | None = None) -> None:
        """Move the sender's momentum. Every contribution counts the same, whatever its share.

        Raises:
            InvalidUpdate: the structure differs or a value is not finite; nothing has changed.
            StorageError: there is no room for it; nothing has changed.
        """
        update.require_structure(self._current.shapes)
        update.require_finite()
        key: object = object() if sender is None else sender
        row = self._momenta.get(key)
        if row is None:
            row = self._momenta[key] = self._space.take(update.parameters)
            self._move(row, update, 0.0)
        else:
            self._move(row, update, self._beta)
        self._missed[key] = 0
        self._senders.append(key)

    def finish(self) -> Weights:
        """Clip towards the momenta of this round's contributors; the current model if there are none."""
        if not self._senders:
            return self._current
        rows = [row for row, _ in ordered((self._momenta[key], 1.0) for key in self._senders)]
        center = self._center.copy()
        for _ in range(self._iterations):
            distances = _distances(rows, center)
            near = distances <= self._radius
            scales = np.where(near, 1.0, self._radius / np.where(near, 1.0, distances))
            _pull(center, rows, scales / len(rows))
        self._next = center
        return Weights.from_flat(self._current.flat + center, self._current.shapes)

    def state(self) -> State:
        """Return v, as the last `finish` moved it."""
        return {_CENTER: self._center if self._next is None else self._next}

    def restore(self, state: State, parameters: int) -> bool:
        """Take v back, or begin anew at 0; forget all momenta either way. Tell which."""
        while self._momenta:
            self._space.give_back(self._momenta.popitem()[1])
        self._missed.clear()
        self._senders = []
        self._next = None
        center = state.get(_CENTER)
        fits = center is not None and center.size == parameters
        self._center = (
            center.copy() if center is not None and fits else np.zeros(parameters, dtype=np.float32)
        )
        return fits

    def _move(self, row: Float32s, update: Weights, beta: float) -> None:
        """Set a momentum to (1 - β) u + β m, block by block."""
        offset, current = 0, self._current.flat
        for tensor in update.tensors:
            for start in range(0, tensor.size, BLOCK):
                block = tensor[start : start + BLOCK]
                place = slice(offset + start, offset + start + block.size)
                change = np.subtract(block, current[place], dtype=np.float64)
                if beta:
                    change *= 1.0 - beta
                    change += beta * row[place]
                row[place] = np.clip(change, -_LARGEST, _LARGEST)  # what is that far off is clipped anyway
            offset += tensor.size

    def _forget_absent(self) -> None:
        for key in list(self._momenta):
            self._missed[key] += 1
            if self._missed[key] > PATIENCE_ROUNDS or not isinstance(key, str):
                self._space.give_back(self._momenta.pop(key))
                del self._missed[key]


def _distances(rows: Sequence[Float32s], center: Float32s) -> NDArray[np.float64]:
    """Return ‖mₖ - v‖ for every row, shaped (rows,)."""
    squares = np.zeros(len(rows))
    for _, _, block in differences(rows, center):
        squares += np.einsum("ij,ij->i", block, block)
    distances: NDArray[np.float64] = np.sqrt(squares)
    return distances


def _pull(center: Float32s, rows: Sequence[Float32s], shares: NDArray[np.float64]) -> None:
    """Move v by Σ shareₖ (mₖ - v), in place: each block is read before it is written."""
    for start, stop, block in differences(rows, center):
        block *= shares[:, None]
        np.add(center[start:stop], block.sum(axis=0), out=center[start:stop], casting="same_kind")
