"""Sequential models in PyTorch, on weights that stay in the shapes TF.js gives them.

Kernels are transposed where they are used, so weights go in and come out as they are: dense kernels
``(inputs, units)``, convolutions ``(height, width, inputs, filters)``. Images are ``(n, height, width, channels)``
outside and channels-first inside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from disco.core.weights import Float32s
from disco.errors import SettingsError
from disco.learning.architecture import Architecture, Layer
from disco.learning.examples import EPSILON, Examples
from disco.learning.learner import Recipe

#: Examples that go through the model at once when nothing is learned.
LOOKED_AT = 256

_OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}
_ACTIVATIONS = {
    "linear": lambda values: values,
    "relu": F.relu,
    "elu": F.elu,
    "selu": F.selu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softmax": lambda values: torch.softmax(values, dim=1),
}
_KINDS = frozenset(
    {
        *("Dense", "Conv2D", "Activation", "Dropout", "Flatten"),
        *("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D"),
    }
)


class TorchLearner:
    """Trains a sequential model.

    Args:
        architecture: of the layers in `_KINDS`.
        examples: to train on.
        recipe: how.

    Raises:
        SettingsError: the model has other layers or activations.
    """

    def __init__(self, architecture: Architecture, examples: Examples, recipe: Recipe) -> None:
        strange = {layer.kind for layer in architecture.layers} - _KINDS
        strange |= {layer.activation for layer in architecture.layers} - set(_ACTIVATIONS)
        if strange:
            raise SettingsError(f"this model cannot be trained here, for it has {', '.join(sorted(strange))}")
        self._layers = architecture.layers
        self._activation = architecture.activation
        self._inputs, self._targets = torch.tensor(examples.inputs), torch.tensor(examples.targets)
        self._recipe = recipe
        self._order = torch.Generator().manual_seed(recipe.seed)
        self._weights: list[torch.Tensor] = []
        self._optimizer: Any = None

    def train(self, weights: Sequence[Float32s], epochs: int) -> tuple[list[Float32s], float]:
        """Pass over the examples; see `Learner.train`."""
        self._load(weights)
        loss = math.nan
        for _ in range(epochs):
            loss = self._pass_over()
        return [tensor.detach().numpy().copy() for tensor in self._weights], loss

    def outputs(self, weights: Sequence[Float32s], inputs: Float32s) -> Float32s:
        """Return what a model with these weights says; see `Learner.outputs`."""
        tensors = [torch.tensor(array) for array in weights]
        with torch.no_grad():
            said = [
                self._forward(tensors, batch, training=False)
                for batch in torch.tensor(inputs).split(LOOKED_AT)
            ]
        values: NDArray[np.float32] = torch.cat(said).numpy()
        return values

    def _load(self, weights: Sequence[Float32s]) -> None:
        """Take weights over, in the tensors that the optimizer knows."""
        if self._optimizer is None:
            self._weights = [torch.tensor(array, requires_grad=True) for array in weights]
            make = _OPTIMIZERS[self._recipe.optimizer]
            self._optimizer = make(self._weights, lr=self._recipe.learning_rate)
        with torch.no_grad():
            for held, given in zip(self._weights, weights, strict=True):
                held.copy_(torch.tensor(given))

    def _pass_over(self) -> float:
        """Learn from every example once; returns the mean loss."""
        total = 0.0
        for rows in torch.randperm(len(self._inputs), generator=self._order).split(self._recipe.batch_size):
            self._optimizer.zero_grad()
            outputs = self._forward(self._weights, self._inputs[rows], training=True)
            loss = _loss(outputs, self._targets[rows], self._activation)
            loss.backward()
            self._optimizer.step()
            total += float(loss.detach()) * len(rows)
        return total / len(self._inputs)

    def _forward(
        self, weights: Sequence[torch.Tensor], inputs: torch.Tensor, *, training: bool
    ) -> torch.Tensor:
        tensors = iter(weights)
        values = inputs.permute(0, 3, 1, 2) if inputs.dim() == 4 else inputs
        for layer in self._layers:
            values = _ACTIVATIONS[layer.activation](_apply(layer, values, tensors, training=training))
        return values


def _apply(
    layer: Layer, values: torch.Tensor, tensors: Iterator[torch.Tensor], *, training: bool
) -> torch.Tensor:
    """Apply a layer without its activation, taking its weights from `tensors`."""
    match layer.kind:
        case "Dense":
            return F.linear(values, next(tensors).T, next(tensors) if layer.tensors == 2 else None)
        case "Conv2D":
            kernel = next(tensors).permute(3, 2, 0, 1)
            bias = next(tensors) if layer.tensors == 2 else None
            return F.conv2d(_padded(layer, values, kernel.shape[2:]), kernel, bias, _pair(layer, "strides"))
        case "MaxPooling2D" | "AveragePooling2D":
            size, pool = (
                _pair(layer, "pool_size"),
                F.max_pool2d if layer.kind == "MaxPooling2D" else F.avg_pool2d,
            )
            if layer.config.get("padding") == "same" and pool is F.avg_pool2d:
                raise SettingsError("average pooling with padding cannot be trained here")
            return pool(_padded(layer, values, size, -math.inf), size, _pair(layer, "strides", size))
        case "GlobalAveragePooling2D":
            return values.mean(dim=(2, 3))
        case "GlobalMaxPooling2D":
            return values.amax(dim=(2, 3))
        case "Flatten":
            return (values.permute(0, 2, 3, 1) if values.dim() == 4 else values).flatten(1)
        case "Dropout":
            return F.dropout(values, float(layer.config.get("rate", 0.0)), training)
        case _:
            return values


def _pair(layer: Layer, name: str, otherwise: tuple[int, int] = (1, 1)) -> tuple[int, int]:
    given = layer.config.get(name) or otherwise
    return (given, given) if isinstance(given, int) else (int(given[0]), int(given[1]))


def _padded(layer: Layer, values: torch.Tensor, size: Sequence[int], value: float = 0.0) -> torch.Tensor:
    """Pad as TensorFlow's *same* does: so that ⌈n / stride⌉ values come out, the odd one of the padding at the end."""
    if layer.config.get("padding", "valid") != "same":
        return values
    strides = _pair(layer, "strides", (size[0], size[1]) if "pool_size" in layer.config else (1, 1))
    around: list[int] = []
    for length, stride, window in zip(values.shape[:1:-1], strides[::-1], size[::-1], strict=True):
        missing = max((math.ceil(length / stride) - 1) * stride + window - length, 0)
        around += [missing // 2, missing - missing // 2]
    return F.pad(values, around, value=value)


def _loss(outputs: torch.Tensor, targets: torch.Tensor, activation: str) -> torch.Tensor:
    """Compute the loss that belongs to the last activation, as `disco.learning.examples.judge` does."""
    if activation not in ("softmax", "sigmoid"):
        return F.mse_loss(outputs, targets)
    sure = outputs.clamp(EPSILON, 1 - EPSILON)
    if activation == "softmax":
        return -(targets * sure.log()).sum(dim=1).mean()
    return F.binary_cross_entropy(sure, targets)
