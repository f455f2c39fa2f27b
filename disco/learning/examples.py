"""Examples: what goes into a model and what should come out, and how well it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from disco.core.weights import Float32s

#: Probabilities are kept this far from 0 and 1 before their logarithm. Source: Keras, ``backend.epsilon()``.
EPSILON = 1e-7

Figures: TypeAlias = Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Examples of a task.

    Args:
        inputs: float32 ``(n, …)``; images ``(n, height, width, channels)``.
        targets: float32 ``(n, k)``: one column an output of the model; classes one-hot.
    """

    inputs: Float32s
    targets: Float32s

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.inputs)

    def split(self, fraction: float, seed: int) -> tuple[Examples, Examples]:
        """Draw `fraction` of the examples, in [0, 1), for validation; both parts have at least one where there are two.

        Returns:
            Those to train on, and those to validate on: the same ones if none can be spared.
        """
        held = min(max(round(len(self) * fraction), 1), len(self) - 1) if fraction > 0 else 0
        if held < 1:
            return self, self
        order = np.random.default_rng(seed).permutation(len(self))
        return self._take(order[held:]), self._take(order[:held])

    def _take(self, rows: np.typing.NDArray[np.int64]) -> Examples:
        return Examples(self.inputs[rows], self.targets[rows])


def judge(outputs: Float32s, targets: Float32s, activation: str) -> dict[str, float]:
    """Compute the loss that belongs to a model's last activation, and the accuracy where there are classes.

    *softmax*: categorical cross-entropy. *sigmoid*: binary cross-entropy over all outputs. Anything else: mean squared
    error, without an accuracy.

    Args:
        outputs: of the model, ``(n, k)``.
        targets: ``(n, k)``.
        activation: of the model's last layer.
    """
    if activation not in ("softmax", "sigmoid"):
        return {"loss": float(np.mean((outputs - targets) ** 2, dtype=np.float64))}
    sure = np.clip(outputs.astype(np.float64), EPSILON, 1 - EPSILON)
    if activation == "softmax":
        loss = -np.sum(targets * np.log(sure), axis=1)
        right = outputs.argmax(axis=1) == targets.argmax(axis=1)
    else:
        loss = -(targets * np.log(sure) + (1 - targets) * np.log(1 - sure))
        right = (outputs >= 0.5) == (targets >= 0.5)
    return {"loss": float(np.mean(loss)), "accuracy": float(np.mean(right))}
