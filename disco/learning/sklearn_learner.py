"""Dense models in scikit-learn: its multi-layer perceptron, carrying the task's weights.

Source: scikit-learn, ``sklearn.neural_network.MLPClassifier``: `coefs_` and `intercepts_` are a dense layer's kernel
and bias as Keras has them, of shapes ``(inputs, units)`` and ``(units,)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

from disco.core.weights import Float32s
from disco.errors import SettingsError
from disco.learning.architecture import Architecture, Layer
from disco.learning.dense import outputs
from disco.learning.examples import Examples
from disco.learning.learner import Recipe

#: Keras' names of activations → scikit-learn's.
_ACTIVATIONS = {"linear": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
_OUTPUTS = ("sigmoid", "softmax", "linear")


class SklearnLearner:
    """Trains a dense model with `partial_fit`, one pass over the examples a call.

    Args:
        architecture: dense layers, all hidden ones with the same activation, each with a bias.
        examples: to train on.
        recipe: rmsprop, which scikit-learn does not have, becomes adam.

    Raises:
        SettingsError: the model is not one that scikit-learn's perceptron can be.
    """

    def __init__(self, architecture: Architecture, examples: Examples, recipe: Recipe) -> None:
        self._architecture = architecture
        self._dense = [layer for layer in architecture.layers if layer.kind == "Dense"]
        self._inputs = _flat(examples.inputs)
        self._targets, classes = _targets(architecture.activation, examples.targets)
        self._perceptron = _perceptron(self._dense, examples, recipe)
        # The first call makes the arrays that `train` fills; what this step has learned is forgotten.
        first = {"classes": classes} if classes is not None else {}
        self._perceptron.partial_fit(self._inputs, self._targets, **first)
        vars(self._perceptron).pop("_optimizer", None)

    def train(self, weights: Sequence[Float32s], epochs: int) -> tuple[list[Float32s], float]:
        """Pass over the examples; see `Learner.train`."""
        perceptron = self._perceptron
        for held, given in zip(_arrays(perceptron), weights, strict=True):
            held[...] = given
        for _ in range(epochs):
            perceptron.partial_fit(self._inputs, self._targets)
        return [np.array(held, dtype=np.float32) for held in _arrays(perceptron)], float(perceptron.loss_)

    def outputs(self, weights: Sequence[Float32s], inputs: Float32s) -> Float32s:
        """Return what a model with these weights says; see `Learner.outputs`."""
        return outputs(self._architecture, weights, inputs)


def _perceptron(dense: Sequence[Layer], examples: Examples, recipe: Recipe) -> Any:
    hidden = {layer.activation for layer in dense[:-1]} or {"relu"}
    last = dense[-1].activation
    if len(hidden) > 1 or hidden.pop() not in _ACTIVATIONS or last not in _OUTPUTS:
        raise SettingsError("scikit-learn cannot mix this model's activations; use --with torch")
    if last == "softmax" and examples.targets.shape[1] < 3:
        raise SettingsError("scikit-learn has no softmax over fewer than three classes; use --with torch")
    if not all(layer.config.get("use_bias", True) for layer in dense):
        raise SettingsError("scikit-learn knows no layer without a bias; use --with torch")
    kind = MLPRegressor if last == "linear" else MLPClassifier
    return kind(
        hidden_layer_sizes=[int(layer.config["units"]) for layer in dense[:-1]],
        activation=_ACTIVATIONS[dense[0].activation] if len(dense) > 1 else "relu",
        solver="sgd" if recipe.optimizer == "sgd" else "adam",
        learning_rate_init=recipe.learning_rate,
        batch_size=min(recipe.batch_size, len(examples)),
        momentum=0.0,
        nesterovs_momentum=False,
        alpha=0.0,
        random_state=recipe.seed,
    )


def _targets(activation: str, targets: Float32s) -> tuple[Any, Any]:
    """Return the targets as scikit-learn wants them, and all classes there are; None for a regression."""
    if activation == "softmax":
        return targets.argmax(axis=1), np.arange(targets.shape[1])
    if activation == "sigmoid":
        labels = (targets >= 0.5).astype(int)
        return (labels[:, 0], np.arange(2)) if labels.shape[1] == 1 else (labels, np.arange(labels.shape[1]))
    return (targets[:, 0] if targets.shape[1] == 1 else targets), None


def _arrays(perceptron: Any) -> list[Any]:
    """Return the perceptron's own arrays, kernel and bias of each layer in turn."""
    pairs = zip(perceptron.coefs_, perceptron.intercepts_, strict=True)
    return [array for pair in pairs for array in pair]


def _flat(inputs: Float32s) -> Float32s:
    return inputs.reshape(len(inputs), -1)
