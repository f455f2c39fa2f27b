"""What a dense model says, in numpy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from disco.core.weights import Float32s
from disco.errors import SettingsError
from disco.learning.architecture import Architecture

ACTIVATIONS = ("linear", "relu", "sigmoid", "softmax", "tanh")


def require_dense(architecture: Architecture) -> None:
    """Check that `outputs` can run a model.

    Raises:
        SettingsError: it has other layers than dense ones, or an activation that is not here.
    """
    others = sorted({layer.kind for layer in architecture.layers} - {"Dense", "Flatten", "Dropout"})
    if others:
        raise SettingsError(
            f"the model has layers of the kinds {', '.join(others)}, and only dense ones run here"
        )
    strange = sorted({layer.activation for layer in architecture.layers} - set(ACTIVATIONS))
    if strange:
        raise SettingsError(
            f"the model has the activations {', '.join(strange)}; here are {', '.join(ACTIVATIONS)}"
        )


def outputs(architecture: Architecture, weights: Sequence[Float32s], inputs: Float32s) -> Float32s:
    """Return what a dense model says of examples, ``(n, k)``; dropout does nothing here.

    Args:
        architecture: one that `require_dense` lets pass.
        weights: in the model's order.
        inputs: ``(n, …)``.
    """
    values, rest = inputs.reshape(len(inputs), -1), list(weights)
    for layer in architecture.layers:
        if layer.tensors:
            kernel = rest.pop(0)
            values = values @ kernel + (rest.pop(0) if layer.tensors > 1 else 0)
        values = activate(values, layer.activation)
    return values


def activate(values: Float32s, activation: str) -> Float32s:
    """Apply an activation by its Keras name, row by row."""
    match activation:
        case "relu":
            return np.maximum(values, 0)
        case "tanh":
            return np.tanh(values)
        case "sigmoid":
            return np.asarray(0.5 * (1 + np.tanh(0.5 * values)), dtype=np.float32)
        case "softmax":
            raised = np.exp(values - values.max(axis=1, keepdims=True))
            return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)
        case _:
            return values
