"""What trains a model, and which framework does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

from disco.core.weights import Float32s
from disco.errors import SettingsError
from disco.learning.architecture import Architecture
from disco.learning.examples import Examples

#: By optimizer, where a task names none. Source: TF.js, ``tf.train`` with the names that Keras layers take.
LEARNING_RATES: Mapping[str, float] = {"sgd": 0.01, "adam": 0.001, "rmsprop": 0.001}

FRAMEWORKS = ("sklearn", "torch")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a task wants its model to be trained.

    Args:
        optimizer: ``sgd``, ``adam`` or ``rmsprop``.
        learning_rate: above 0.
        batch_size: examples in a batch.
        seed: of the order of the examples.
    """

    optimizer: str
    learning_rate: float
    batch_size: int
    seed: int = 0

    @classmethod
    def of(cls, task: Mapping[str, Any], seed: int = 0) -> Recipe:
        """Read a task's JSON document.

        Raises:
            SettingsError: it names an optimizer that is not here.
        """
        training = task["trainingInformation"]
        optimizer = str(training.get("modelCompileData", {}).get("optimizer", "adam")).lower()
        if optimizer not in LEARNING_RATES:
            raise SettingsError(
                f"the task wants the optimizer {optimizer}; here are {', '.join(LEARNING_RATES)}"
            )
        rate = float(training.get("learningRate", LEARNING_RATES[optimizer]))
        return cls(optimizer, rate, int(training["batchSize"]), seed)


class Learner(Protocol):
    """Trains one model on one participant's examples. Its optimizer remembers what it has seen from round to round."""

    def train(self, weights: Sequence[Float32s], epochs: int) -> tuple[list[Float32s], float]:
        """Pass over the examples `epochs` times.

        Args:
            weights: to begin with, in the model's order; left as they are.
            epochs: at least 1.

        Returns:
            The weights after that, and the mean loss of the last epoch.
        """

    def outputs(self, weights: Sequence[Float32s], inputs: Float32s) -> Float32s:
        """Return what a model with these weights says, ``(n, k)``."""


def choose_learner(
    architecture: Architecture, examples: Examples, recipe: Recipe, framework: str | None = None
) -> Learner:
    """Make the learner for a model: scikit-learn's for dense ones, PyTorch's for all others.

    Args:
        architecture: of the model.
        examples: to train on.
        recipe: how.
        framework: ``sklearn`` or ``torch``; None for the first that is installed and can do it.

    Raises:
        SettingsError: the framework is not installed, or cannot train such a model.
    """
    able = [name for name in FRAMEWORKS if name == "torch" or architecture.is_dense]
    if framework is not None and framework not in able:
        raise SettingsError(
            "scikit-learn cannot train a model that is not dense layers only; use --with torch"
        )
    wanted = [framework] if framework is not None else able
    for name in wanted:
        if find_spec(name) is None:
            continue
        if name == "sklearn":
            from disco.learning.sklearn_learner import SklearnLearner

            return SklearnLearner(architecture, examples, recipe)
        from disco.learning.torch_learner import TorchLearner

        return TorchLearner(architecture, examples, recipe)
    packages = {"sklearn": "scikit-learn", "torch": "PyTorch"}
    names = " or ".join(packages[name] for name in wanted)
    raise SettingsError(
        f"this model needs {names}, which is not installed: pip install 'disco-server[{wanted[0]}]'"
    )
