"""Tasks from folders and from Python.

A folder of tasks holds one folder a task, with ``task.toml`` (the task document under the wire's own key names),
``model.json`` (TF.js layers model) and the weight files that it names. Whatever is wrong with one folder is told
and stops no other. Everything here reads the disk and waits for nothing else.
"""

from __future__ import annotations

import importlib
import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from disco.core.model import WEIGHTS_FILE, Model
from disco.core.submission import Submission
from disco.core.task import Task
from disco.core.weights import Float32s
from disco.errors import InvalidTask, Problem, SettingsError

TASK_FILE = "task.toml"
MODEL_FILE = "model.json"

#: A model in the forms that a provider may return: read already, a folder with its files, or their contents.
ProvidedModel: TypeAlias = Model | Path | tuple[Mapping[str, Any], bytes]


@dataclass(frozen=True, slots=True)
class FoundTasks:
    """What a folder of tasks held.

    Args:
        tasks: in the alphabetical order of their folders.
        broken: folder name and what is wrong with it.
    """

    tasks: list[Submission] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)


@runtime_checkable
class TaskProvider(Protocol):
    """A task made in Python. One that evaluates its models, too, is `Scoring`."""

    def get_task(self) -> Mapping[str, Any] | Task:
        """Return the task, or its document as clients know it."""

    def get_model(self) -> ProvidedModel:
        """Return the model, the folder of its files, or the contents of ``model.json`` and ``weights.bin``."""


@runtime_checkable
class Scoring(Protocol):
    """A provider that evaluates its task's models. It is pickled, and its method runs in a process of its own."""

    def evaluate(self, weights: list[Float32s]) -> Mapping[str, float]:
        """Return figures by name for a model: float32 arrays in the model's order."""


def load_folder(path: Path) -> FoundTasks:
    """Read every folder in a folder as a task, but those whose names begin with ``.`` or ``__``.

    If `path` itself cannot be listed, it is the one broken entry.
    """
    found = FoundTasks()
    try:
        folders = sorted(
            entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__"))
        )
    except OSError as error:
        found.broken.append((path.name or str(path), f"cannot be listed: {error.strerror}"))
        return found
    for folder in folders:
        try:
            found.tasks.append(load_task(folder))
        except InvalidTask as error:
            found.broken.append((folder.name, str(error)))
    return found


def load_task(folder: Path) -> Submission:
    """Read one task folder. Its ``taskID`` is the folder's name; ``task.toml`` need not repeat it.

    Raises:
        InvalidTask: every problem of the task and of its model together.
    """
    problems: list[Problem] = []
    task, model = None, None
    try:
        task = Task.from_document(_read_document(folder), path=TASK_FILE)
        if task.id != folder.resolve().name:
            problems.append(
                Problem(f"{TASK_FILE}.taskID", f"is {task.id}, but the folder's name is {folder.name}")
            )
    except InvalidTask as error:
        problems += error.problems
    try:
        model = load_model(folder)
    except InvalidTask as error:
        problems += error.problems
    if problems or task is None or model is None:
        raise InvalidTask(problems)
    return Submission(task, model, folder=folder)


def load_model(folder: Path) -> Model:
    """Read ``model.json`` and the weight files that it names, all of which are inside the folder.

    Raises:
        InvalidTask: every problem found.
    """
    try:
        model_json = json.loads(_read(folder / MODEL_FILE))
    except (ValueError, RecursionError) as error:
        raise InvalidTask([Problem(MODEL_FILE, f"is not JSON: {error}")]) from error
    if not isinstance(model_json, dict):
        raise InvalidTask([Problem(MODEL_FILE, "must be an object")])
    data = b"".join(_read(_inside(folder, name)) for name in _weight_files(model_json))
    return Model.from_tfjs(model_json, data, path=MODEL_FILE)


def from_provider(provider: TaskProvider) -> Submission:
    """Ask a provider for its task and model.

    Raises:
        InvalidTask: what it returned is no task or no model; every problem found.
    """
    given = provider.get_task()
    task = given if isinstance(given, Task) else Task.from_document(given)
    provided: object = provider.get_model()
    scorer = provider if isinstance(provider, Scoring) else None
    match provided:
        case Model() as model:
            return Submission(task, model, scorer)
        case Path() as folder:
            return Submission(task, load_model(folder), scorer, folder)
        case (Mapping() as model_json, bytes() as data):
            return Submission(task, Model.from_tfjs(model_json, data), scorer)
        case _:
            rule = (
                "must be a Model, a folder as Path, or a pair of model.json as dict and weights.bin as bytes"
            )
            raise InvalidTask([Problem("get_model()", f"{rule}, not {type(provided).__name__}")])


def import_provider(name: str) -> TaskProvider:
    """Import a provider class by ``package.module:Class`` and make one.

    Modules are looked for in the working directory too, as ``python -m`` does.

    Raises:
        SettingsError: there is no such class, it cannot be made without arguments, or it provides no task.
    """
    module_name, colon, attribute = name.partition(":")
    if not (colon and module_name and attribute):
        raise SettingsError(f"{name} does not name a task provider; write package.module:Class")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        made = getattr(importlib.import_module(module_name), attribute)
        provider = made() if callable(made) else made
    except AttributeError as error:
        raise SettingsError(f"{name} is no task provider: {error}") from error
    except Exception as error:  # code of others may fail in any way
        raise SettingsError(f"{name} cannot be used: {type(error).__name__}: {error}") from error
    if not isinstance(provider, TaskProvider):
        raise SettingsError(f"{name} is no task provider: it needs get_task() and get_model()")
    return provider


def _read_document(folder: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(_read(folder / TASK_FILE).decode())
    except (ValueError, RecursionError) as error:
        raise InvalidTask([Problem(TASK_FILE, f"is not TOML: {error}")]) from error
    if "taskID" not in document and "id" not in document:
        document["taskID"] = folder.resolve().name
    return document


def _weight_files(model_json: Mapping[str, Any]) -> list[str]:
    """Return the file names of a manifest, in order; what is no manifest is for the model to complain about."""
    groups = model_json.get("weightsManifest")
    if not isinstance(groups, list):
        return [WEIGHTS_FILE]
    paths = [path for group in groups if isinstance(group, dict) for path in _listed(group.get("paths"))]
    return paths or [WEIGHTS_FILE]


def _listed(paths: Any) -> list[str]:
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file named by a manifest, which came from who knows where.

    Raises:
        InvalidTask: it leads out of the folder, by its name or by a symbolic link.
    """
    root = folder.resolve()
    try:
        file = (root / name).resolve()
    except (ValueError, OSError) as error:
        raise InvalidTask([Problem(MODEL_FILE, f"names a file that cannot exist: {error}")]) from error
    if not file.is_relative_to(root):
        raise InvalidTask([Problem(MODEL_FILE, f"names {name}, which is outside its folder")])
    return file


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidTask([Problem(file.name, f"cannot be read: {reason}")]) from error
