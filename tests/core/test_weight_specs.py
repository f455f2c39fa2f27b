"""Shapes that no tensor has are a problem of the model, not of the server."""

from __future__ import annotations

from typing import Any

import pytest

from disco.core.weight_specs import read_specs


@pytest.mark.parametrize(
    "shape",
    [[1e308] * 40, [2**53, 2**53], [1] * 33, [0, 1e308]],
    ids=["digits", "product", "rank", "none of many"],
)
def test_a_shape_that_no_tensor_has_is_told(shape: list[Any]) -> None:
    (problem,) = read_specs([{"name": "x", "shape": shape, "dtype": "float32"}], "specs").problems
    assert str(problem) == "specs[0].shape is too large for any tensor"


@pytest.mark.parametrize("shape", [[], [0], [1, 2, 3], [2.0]])
def test_a_shape_that_a_tensor_may_have_is_taken(shape: list[Any]) -> None:
    assert not read_specs([{"name": "x", "shape": shape, "dtype": "float32"}], "specs").problems
