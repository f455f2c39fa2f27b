"""The list of tensors beside a TF.js model's bytes: ``weightSpecs``, or ``weightsManifest`` in files.

Source: TF.js ``io.WeightsManifestEntry``; a compiled model's specs end with its optimizer's state, marked
``group: "optimizer"``, which is served again as it came and never aggregated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from disco.core.weights import Shape, Structure
from disco.errors import Problem

#: Bytes an element, of the types that an optimizer's state may have.
ITEM_BYTES = {"float32": 4, "int32": 4, "bool": 1, "complex64": 8}

#: Above these, no machine has a tensor; numbers that a stranger makes up have thousands of digits.
MAX_RANK, MAX_ELEMENTS = 32, 2**60


@dataclass(frozen=True, slots=True)
class SpecSheet:
    """What a list of specs says, and what is wrong with it.

    Args:
        shapes: of the weights that are aggregated.
        weight_bytes: that they take.
        extra_bytes: that the optimizer's state behind them takes.
        problems: empty when the rest can be relied on.
    """

    shapes: Structure
    weight_bytes: int
    extra_bytes: int
    problems: tuple[Problem, ...]


def read_specs(specs: Any, path: str) -> SpecSheet:
    """Read specs that came from outside. Total: what is wrong is in the sheet's `problems`."""
    if not isinstance(specs, list):
        return SpecSheet((), 0, 0, (Problem(path, "must be a list of tensors with name, shape and dtype"),))
    return read_placed([(spec, f"{path}[{index}]") for index, spec in enumerate(specs)])


def read_placed(placed: Sequence[tuple[Any, str]]) -> SpecSheet:
    """Read specs, each with the path where it was found."""
    shapes: list[Shape] = []
    problems: list[Problem] = []
    extra = 0
    in_optimizer = False
    for spec, where in placed:
        found = _spec_problems(spec, where)
        if found:
            problems += found
            continue
        shape = tuple(int(size) for size in spec["shape"])
        if spec.get("group") == "optimizer":
            in_optimizer = True
            extra += math.prod(shape) * ITEM_BYTES[spec["dtype"]]
        elif in_optimizer:
            problems.append(Problem(where, "comes after the optimizer's state; weights come first"))
        else:
            shapes.append(shape)
    weight_bytes = 4 * sum(math.prod(shape) for shape in shapes)
    return SpecSheet(tuple(shapes), weight_bytes, extra, tuple(problems))


def manifest(specs: Sequence[Any], file: str) -> list[dict[str, Any]]:
    """Write the ``weightsManifest`` of a model whose bytes are all in one file."""
    return [{"paths": [file], "weights": list(specs)}]


def float32_specs(shapes: Structure) -> list[dict[str, Any]]:
    """Write specs for tensors that have no names of their own."""
    return [
        {"name": f"tensor_{index}", "shape": list(shape), "dtype": "float32"}
        for index, shape in enumerate(shapes)
    ]


def is_size(value: Any) -> bool:
    """Tell whether a value can be a tensor's dimension; JavaScript may write one as a float."""
    if isinstance(value, float):
        return value.is_integer() and value >= 0
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _spec_problems(spec: Any, where: str) -> list[Problem]:
    if not isinstance(spec, dict):
        return [Problem(where, "must be an object with name, shape and dtype")]
    problems = []
    if not isinstance(spec.get("name"), str):
        problems.append(Problem(f"{where}.name", "must be text"))
    shape = spec.get("shape")
    if not (isinstance(shape, list) and all(map(is_size, shape))):
        problems.append(Problem(f"{where}.shape", "must be a list of whole numbers from 0"))
    elif len(shape) > MAX_RANK or math.prod(max(int(size), 1) for size in shape) > MAX_ELEMENTS:
        problems.append(Problem(f"{where}.shape", "is too large for any tensor"))
    dtype = spec.get("dtype")
    if spec.get("quantization") is not None:
        problems.append(
            Problem(
                f"{where}.quantization",
                "is not possible here: weights are aggregated as float32, so save "
                "the model without quantization",
            )
        )
    elif spec.get("group") == "optimizer":
        if not (isinstance(dtype, str) and dtype in ITEM_BYTES):
            problems.append(Problem(f"{where}.dtype", f"must be one of {', '.join(ITEM_BYTES)}"))
    elif dtype != "float32":
        problems.append(
            Problem(f"{where}.dtype", f"is {dtype!r:.40}: only float32 weights can be aggregated")
        )
    return problems
