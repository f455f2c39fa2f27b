"""A task's held-out examples: a scorer for models that run in numpy."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from disco.core.evaluation import plan_of
from disco.core.submission import Submission
from disco.core.weights import Float32s
from disco.errors import InvalidTask, Problem, SettingsError
from disco.learning.architecture import Architecture
from disco.learning.dense import outputs, require_dense
from disco.learning.examples import Examples, judge
from disco.learning.pictures import read_pictures
from disco.learning.tables import read_table


@dataclass(slots=True)
class HeldOut:
    """Judges models by examples that nobody trains on. It is made in one process and used in another.

    Args:
        path: a ``.npz`` with arrays ``x`` and ``y``, a CSV file of a tabular task, or a folder of images.
        document: the task, as clients know it.
        architecture: of its model.
    """

    path: Path
    document: Mapping[str, Any]
    architecture: Architecture
    _examples: Examples | None = field(default=None, repr=False)

    def evaluate(self, weights: Sequence[Float32s]) -> dict[str, float]:
        """Return the loss that belongs to the model's last activation, and the accuracy where there are classes.

        Raises:
            SettingsError: the examples cannot be read any more.
        """
        if self._examples is None:
            self._examples = self.read()
        said = outputs(self.architecture, weights, self._examples.inputs)
        return judge(said, self._examples.targets, self.architecture.activation)

    def read(self) -> Examples:
        """Read the examples.

        Raises:
            SettingsError: they cannot be read, or do not fit the model.
        """
        units = int([layer for layer in self.architecture.layers if layer.tensors][-1].config["units"])
        if self.path.is_dir():
            examples = read_pictures(self.path, self.document, self.architecture.input_shape)
        elif self.path.suffix == ".csv":
            examples = read_table(self.path, self.document, units).examples
        elif self.path.suffix == ".npz":
            examples = read_arrays(self.path, units)
        else:
            raise SettingsError(f"{self.path.name} must be a .npz or .csv file, or a folder of images")
        wanted = int(np.prod(self.architecture.input_shape))
        if examples.inputs[0].size != wanted:
            raise SettingsError(
                f"{self.path.name} has inputs of {examples.inputs[0].size} values, and the model takes {wanted}"
            )
        if examples.targets.shape[1] != units:
            raise SettingsError(
                f"{self.path.name} has {examples.targets.shape[1]} targets an example, and the model says {units}"
            )
        return examples


def read_arrays(path: Path, units: int) -> Examples:
    """Read ``x``, an example a row, and ``y``: classes from 0 where the model has several outputs, or its targets.

    Raises:
        SettingsError: the file is no such thing.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            inputs, targets = np.asarray(file["x"], np.float32), np.asarray(file["y"])
    except KeyError as error:
        raise SettingsError(f"{path.name} has no array {error}; it needs x and y") from error
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise SettingsError(f"{path.name} cannot be read as .npz: {error}") from error
    if inputs.ndim < 2 or not len(inputs) or len(inputs) != len(targets):
        raise SettingsError(f"{path.name} must have as many rows in x as in y, and at least one")
    if targets.ndim == 1 and units > 1:
        if targets.dtype.kind not in "iu" or targets.min() < 0 or targets.max() >= units:
            raise SettingsError(f"{path.name}: y must be classes from 0 to {units - 1}, as whole numbers")
        targets = np.eye(units)[targets]
    shaped: Float32s = np.asarray(targets, np.float32).reshape(len(targets), -1)
    if not (np.isfinite(inputs).all() and np.isfinite(shaped).all()):
        raise SettingsError(f"{path.name} has a value that is not finite")
    return Examples(inputs, shaped)


def with_held_out(
    given: Sequence[tuple[Submission, str]],
) -> tuple[list[tuple[Submission, str]], list[tuple[str, str]]]:
    """Give the scorer that it asks for to each task that has none of its own.

    Returns:
        The tasks, each with its source, and those whose data cannot be used, with what is wrong.
    """
    fit, unfit = [], []
    for submission, source in given:
        try:
            scorer = submission.scorer if submission.scorer is not None else held_out_of(submission)
            fit.append((replace(submission, scorer=scorer), source))
        except InvalidTask as error:
            unfit.append((str(submission.task.id), str(error)))
    return fit, unfit


def held_out_of(submission: Submission) -> HeldOut | None:
    """Make the scorer that a task in a folder asks for, and read its examples once; None if it names none.

    Raises:
        InvalidTask: the file does not fit, or the model is none that runs here.
    """
    name = plan_of(submission.task.document).data
    if name is None or submission.folder is None:
        return None
    path = submission.folder / name
    try:
        if not path.exists():
            raise SettingsError(f"names {name}, which is not in the task's folder")
        if not path.resolve().is_relative_to(submission.folder.resolve()):
            raise SettingsError(f"names {name}, which is outside the task's folder")
        architecture = Architecture.of(submission.model)
        require_dense(architecture)
        made = HeldOut(path.resolve(), submission.task.public(), architecture)
        made.read()
    except SettingsError as error:
        raise InvalidTask([Problem("evaluation.data", f"cannot be used: {error}")]) from error
    return made
