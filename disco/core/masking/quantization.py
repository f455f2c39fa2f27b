"""Changes of weights as integers modulo 2³², so that masks can hide them and sums do not overflow.

With n members, L = ⌊(2³¹ − 1) / n⌋ and step = range / L, a change x becomes

    q = round(x / step), after x was clipped to ±range;  |q| ≤ L, so |Σ q| < 2³¹ whatever the members send

and the sum of k contributions becomes the mean change Σ q · step / k. For changes within ±range, a contribution is off
by at most step / 2 in each coordinate, and so is the mean: with range 4 and 32 members, 3e-8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disco.core.masking.words import Words32
from disco.core.weights import Float32s, Weights

#: Members of a round at most: beyond, masks for every pair cost more than they should, and steps become coarse.
MAX_MEMBERS = 1000


@dataclass(frozen=True, slots=True)
class Grid:
    """The integers of one attempt.

    Args:
        range: the largest change that is told apart, above 0.
        members: from 1 to `MAX_MEMBERS`.
    """

    range: float
    members: int

    @property
    def levels(self) -> int:
        """The largest integer that one member sends."""
        return (2**31 - 1) // self.members

    @property
    def step(self) -> float:
        """The change that one integer is worth."""
        return self.range / self.levels

    def quantize(self, changes: NDArray[np.float64], into: Words32) -> int:
        """Write a block of finite changes as integers; `changes` is worked in.

        Returns:
            How many were clipped.
        """
        np.divide(changes, self.step, out=changes)
        clipped = int(np.count_nonzero(np.abs(changes) > self.levels + 0.5))
        np.rint(changes, out=changes)
        np.clip(changes, -self.levels, self.levels, out=changes)
        into[:] = changes.astype(np.int32).view(np.uint32)
        return clipped

    def mean(self, total: Words32, contributions: int) -> NDArray[np.float64]:
        """Return the mean change of a block of sums."""
        return np.multiply(total.view(np.int32), self.step / contributions, dtype=np.float64)


class Walk:
    """Reads a model's parameters in their order, block by block, across its tensors and without a copy of them all."""

    def __init__(self, weights: Weights) -> None:
        self._tensors = iter(weights.tensors)
        self._left: Float32s = np.empty(0, dtype=np.float32)

    def read(self, into: NDArray[np.float64]) -> None:
        """Fill a block with the next parameters, of which there are enough."""
        filled = 0
        while filled < into.size:
            while not self._left.size:
                self._left = next(self._tensors)
            taken = self._left[: into.size - filled]
            into[filled : filled + taken.size] = taken
            self._left = self._left[taken.size :]
            filled += taken.size
