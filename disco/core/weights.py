"""Model weights: an ordered list of float32 tensors.

Updates arrive as views into the bytes of a message and are summed from there, so `Weights` does not insist on
one buffer. Where one exists (a model read from disk, the result of an aggregation), `flat` is free of copies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from disco.errors import InvalidUpdate

Shape: TypeAlias = tuple[int, ...]
Structure: TypeAlias = tuple[Shape, ...]
Float32s: TypeAlias = NDArray[np.float32]

#: Elements looked at in one go, so that scanning a large model allocates little (256 KiB of float32).
BLOCK = 65_536


def count(structure: Iterable[Shape]) -> int:
    """Return the number of parameters in tensors of these shapes."""
    return sum(math.prod(shape) for shape in structure)


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Float32 tensors in the model's order.

    Args:
        shapes: one shape a tensor; a scalar's is ``()``.
        tensors: one 1-D float32 array a tensor, its elements in row-major order. They may be read-only,
            unaligned views into a message; whoever keeps them longer than the message copies them.
        buffer: the whole model as one 1-D float32 array, when `tensors` are consecutive views of it.

    Attributes:
        written: what dialects have made of these weights, by form, so that they need not do it again.

    Build one with `from_arrays`, `from_flat` or `zeros`.
    """

    shapes: Structure
    tensors: tuple[Float32s, ...]
    buffer: Float32s | None = field(default=None, repr=False)
    written: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def from_arrays(cls, arrays: Iterable[Any]) -> Weights:
        """Take anything numpy can read as arrays, converting each to float32 without copying where it can."""
        shaped = [np.asarray(array, dtype=np.float32) for array in arrays]
        return cls(tuple(array.shape for array in shaped), tuple(array.reshape(-1) for array in shaped))

    @classmethod
    def from_flat(cls, flat: Float32s, shapes: Sequence[Shape]) -> Weights:
        """Lay `shapes` over a 1-D float32 array, without copying.

        Raises:
            ValueError: `flat` does not hold exactly as many elements as the shapes need.
        """
        structure = tuple(tuple(shape) for shape in shapes)
        if flat.ndim != 1 or flat.size != count(structure):
            raise ValueError(f"{flat.size} elements cannot hold tensors of {count(structure)} parameters")
        tensors, start = [], 0
        for shape in structure:
            end = start + math.prod(shape)
            tensors.append(flat[start:end])
            start = end
        return cls(structure, tuple(tensors), flat)

    @classmethod
    def zeros(cls, shapes: Sequence[Shape]) -> Weights:
        """Make weights of these shapes that are all zero."""
        return cls.from_flat(np.zeros(count(shapes), dtype=np.float32), shapes)

    @property
    def parameters(self) -> int:
        """The number of parameters over all tensors."""
        return self.buffer.size if self.buffer is not None else sum(tensor.size for tensor in self.tensors)

    @property
    def flat(self) -> Float32s:
        """Everything as one 1-D float32 array of `parameters` elements; a copy only if there is no buffer."""
        if self.buffer is not None:
            return self.buffer
        return np.concatenate(self.tensors) if self.tensors else np.zeros(0, dtype=np.float32)

    def arrays(self) -> list[Float32s]:
        """Return the tensors in their shapes, as views."""
        return [tensor.reshape(shape) for tensor, shape in zip(self.tensors, self.shapes, strict=True)]

    def equals(self, other: Weights) -> bool:
        """Tell whether structure and every value agree, bit for bit but for the sign of zero."""
        return self.shapes == other.shapes and all(map(np.array_equal, self.tensors, other.tensors))

    def require_structure(self, expected: Structure) -> None:
        """Check that these weights fit a model.

        Raises:
            InvalidUpdate: the number of tensors or a shape differs; the message says which and how.
        """
        if len(self.shapes) != len(expected):
            raise InvalidUpdate(f"weights has {len(self.shapes)} tensors where the model has {len(expected)}")
        for index, (shape, wanted) in enumerate(zip(self.shapes, expected, strict=True)):
            if shape != wanted:
                raise InvalidUpdate(
                    f"weights[{index}].shape is {list(shape)} where the model has {list(wanted)}"
                )

    def require_finite(self) -> None:
        """Check that no value is NaN or infinite.

        Raises:
            InvalidUpdate: one is; the message names the tensor.
        """
        for index, tensor in enumerate(self.tensors):
            if not all_finite(tensor):
                raise InvalidUpdate(f"weights[{index}].data has a value that is not finite")


def all_finite(values: Float32s) -> bool:
    """Tell whether every value of a 1-D array is finite, one block at a time."""
    with np.errstate(over="ignore", invalid="ignore"):
        return all(_block_finite(values[start : start + BLOCK]) for start in range(0, values.size, BLOCK))


def _block_finite(block: Float32s) -> bool:
    # A sum of squares is not finite if a value is not: 10M values take 1 ms, `isfinite` 17. It may overflow where
    # all values are finite, so it acquits only.
    return math.isfinite(np.dot(block, block)) or bool(np.isfinite(block).all())
