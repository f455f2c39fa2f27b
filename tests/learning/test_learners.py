"""Learners do what TensorFlow.js does, and learn."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from disco.core.model import Model
from disco.core.weights import Float32s
from disco.errors import SettingsError
from disco.learning.architecture import Architecture
from disco.learning.examples import Examples, judge
from disco.learning.learner import Learner, Recipe, choose_learner
from disco.settings import bundled_tasks

GOLDEN = Path(__file__).parent / "golden"
OUTPUTS: dict[str, Any] = json.loads((GOLDEN / "outputs.json").read_text("utf-8"))
DENSE = ("titanic", "breast_cancer", "digits")
RECIPE = Recipe("adam", 0.01, 16)

needs_torch = pytest.mark.skipif(
    find_spec("torch") is None,
    reason="PyTorch is not locked; docs/contributing.md tells how to run its tests",
)
frameworks = pytest.mark.parametrize("framework", ["sklearn", pytest.param("torch", marks=needs_torch)])


def load(folder: Path) -> Model:
    return Model.from_tfjs(
        json.loads((folder / "model.json").read_text("utf-8")), (folder / "weights.bin").read_bytes()
    )


def bundled(task: str) -> Model:
    return load(GOLDEN / "odd" if task == "odd" else bundled_tasks() / task)


def fixed_inputs(architecture: Architecture) -> Float32s:
    """The inputs that make_golden.mjs gave to TensorFlow.js."""
    shape = (2, *architecture.input_shape)
    return ((np.arange(np.prod(shape)) * 37 % 101) / 101).astype(np.float32).reshape(shape)


def learner_for(task: str, framework: str) -> tuple[Learner, Float32s, list[Float32s]]:
    model = bundled(task)
    architecture = Architecture.of(model)
    inputs = fixed_inputs(architecture)
    targets = np.eye(len(OUTPUTS[task][0]), dtype=np.float32)[[0, 0]]
    learner = choose_learner(architecture, Examples(inputs, targets), RECIPE, framework)
    return learner, inputs, model.weights.arrays()


@needs_torch
@pytest.mark.parametrize("task", OUTPUTS)
def test_torch_says_what_tensorflow_says(task: str) -> None:
    learner, inputs, weights = learner_for(task, "torch")
    np.testing.assert_allclose(learner.outputs(weights, inputs), OUTPUTS[task], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("task", DENSE)
def test_sklearn_says_what_tensorflow_says(task: str) -> None:
    learner, inputs, weights = learner_for(task, "sklearn")
    np.testing.assert_allclose(learner.outputs(weights, inputs), OUTPUTS[task], rtol=1e-3, atol=1e-5)


def separable(n: int = 200) -> Examples:
    """Thirty columns, the first of which decides."""
    inputs = np.random.default_rng(0).normal(size=(n, 30)).astype(np.float32)
    return Examples(inputs, (inputs[:, :1] > 0).astype(np.float32))


@frameworks
def test_training_begins_at_the_weights_given_and_gets_better(framework: str) -> None:
    model, examples = bundled("breast_cancer"), separable()
    architecture, weights = Architecture.of(model), model.weights.arrays()
    learner = choose_learner(architecture, examples, RECIPE, framework)
    before = judge(learner.outputs(weights, examples.inputs), examples.targets, "sigmoid")
    trained, loss = learner.train(weights, 20)
    after = judge(learner.outputs(trained, examples.inputs), examples.targets, "sigmoid")
    assert after["accuracy"] > 0.9 > before["accuracy"]
    assert loss < before["loss"]


@frameworks
def test_one_small_step_stays_close_to_the_weights_given(framework: str) -> None:
    model, examples = bundled("breast_cancer"), separable(16)
    weights = [array + 1 for array in model.weights.arrays()]
    learner = choose_learner(Architecture.of(model), examples, Recipe("sgd", 1e-6, 16), framework)
    trained, _ = learner.train(weights, 1)
    for array, given in zip(trained, weights, strict=True):
        np.testing.assert_allclose(array, given, atol=1e-3)


@frameworks
def test_the_weights_given_are_left_as_they_are(framework: str) -> None:
    model, examples = bundled("breast_cancer"), separable(32)
    given = [array.copy() for array in model.weights.arrays()]
    choose_learner(Architecture.of(model), examples, RECIPE, framework).train(given, 2)
    assert all(map(np.array_equal, given, model.weights.arrays()))


@needs_torch
def test_both_frameworks_take_the_same_gradient_step() -> None:
    model, examples = bundled("breast_cancer"), separable(16)
    weights, recipe = model.weights.arrays(), Recipe("sgd", 0.1, 16)
    architecture = Architecture.of(model)
    ours, _ = choose_learner(architecture, examples, recipe, "sklearn").train(weights, 1)
    theirs, _ = choose_learner(architecture, examples, recipe, "torch").train(weights, 1)
    for array, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array, other, atol=1e-5)


def test_a_convolution_is_not_for_sklearn() -> None:
    with pytest.raises(SettingsError, match="dense layers only"):
        learner_for("mnist", "sklearn")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"class_name": "Model"}, "only sequential"),
        ({"class_name": "Sequential", "config": {}}, "says nothing of its layers"),
    ],
)
def test_an_architecture_that_cannot_be_read_is_refused_in_a_sentence(
    change: dict[str, Any], reason: str
) -> None:
    model = bundled("titanic")
    broken = Model(model.kind, model.weights, {**model.artifacts, "modelTopology": change})
    with pytest.raises(SettingsError, match=reason):
        Architecture.of(broken)


def test_a_recipe_is_the_tasks_or_tensorflows() -> None:
    training = {"batchSize": 8, "modelCompileData": {"optimizer": "sgd"}}
    assert Recipe.of({"trainingInformation": training}) == Recipe("sgd", 0.01, 8)
    assert Recipe.of({"trainingInformation": {**training, "learningRate": 0.5}}).learning_rate == 0.5


def test_an_optimizer_that_is_not_here_is_named() -> None:
    with pytest.raises(SettingsError, match="adagrad"):
        Recipe.of({"trainingInformation": {"batchSize": 8, "modelCompileData": {"optimizer": "adagrad"}}})
