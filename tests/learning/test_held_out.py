"""Held-out examples of a task's folder: what they say of a model, and what cannot be used."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from disco.core.submission import Submission
from disco.errors import InvalidTask, SettingsError
from disco.learning.architecture import Architecture, Layer
from disco.learning.dense import outputs, require_dense
from disco.learning.held_out import HeldOut, held_out_of
from disco.settings import bundled_tasks
from disco.storage.catalogue import load_task
from tests.conftest import TINY

#: Rows whose classes the model of `KNOWN` tells apart, but for the last.
X = [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 2.0]]
Y = [1, 1, 0, 1]
#: The hidden layer passes a on and b on, the output says a - b.
KNOWN = [
    np.array([[1, 0, 0], [0, 1, 0]], np.float32),
    np.zeros(3, np.float32),
    np.array([[1], [-1], [0]], np.float32),
    np.zeros(1, np.float32),
]


def folder(tmp_path: Path, data: str, source: Path = TINY / "tiny") -> Path:
    """A task's folder that names a file of held-out data, which is not there yet."""
    copy = shutil.copytree(source, tmp_path / source.name)
    with (copy / "task.toml").open("a") as file:
        file.write(f'\n[evaluation]\ndata = "{data}"\n')
    return copy


def held_out(tmp_path: Path, **arrays: Any) -> HeldOut:
    copy = folder(tmp_path, "held-out.npz")
    np.savez(copy / "held-out.npz", **arrays)
    made = held_out_of(load_task(copy))
    assert made is not None
    return made


def test_a_model_is_judged_by_arrays(tmp_path: Path) -> None:
    figures = held_out(tmp_path, x=X, y=Y).evaluate(KNOWN)
    assert figures["accuracy"] == 0.75
    assert figures["loss"] == pytest.approx(np.mean(np.log1p(np.exp([-1, -2, -1, 2]))), rel=1e-4)


def test_a_model_is_judged_by_a_table(tmp_path: Path) -> None:
    copy = folder(tmp_path, "held-out.csv")
    rows = "\n".join(f"{a},{b},{y}" for (a, b), y in zip(X, Y, strict=True))
    (copy / "held-out.csv").write_text(f"a,b,y\n{rows}\n")
    made = held_out_of(load_task(copy))
    assert made is not None
    assert made.evaluate(KNOWN)["accuracy"] == 0.75


def test_a_model_is_judged_in_another_process_as_here(tmp_path: Path) -> None:
    made = held_out(tmp_path, x=X, y=Y)
    assert pickle.loads(pickle.dumps(made)).evaluate(KNOWN) == made.evaluate(KNOWN)


def test_a_task_that_names_no_data_has_no_such_scorer() -> None:
    assert held_out_of(load_task(TINY / "tiny")) is None


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"x": X}, "has no array .*it needs x and y"),
        ({"x": X, "y": Y[:2]}, "as many rows in x as in y"),
        ({"x": [], "y": []}, "as many rows in x as in y, and at least one"),
        ({"x": [[1.0, 2.0, 3.0]], "y": [1]}, "has inputs of 3 values, and the model takes 2"),
        ({"x": X, "y": [[1, 0]] * 4}, "has 2 targets an example, and the model says 1"),
        ({"x": [[np.nan, 0.0]], "y": [1]}, "has a value that is not finite"),
        ({"x": [["a", "b"]], "y": [1]}, r"cannot be read as \.npz"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_a_sentence(tmp_path: Path, arrays: Any, why: str) -> None:
    with pytest.raises(InvalidTask, match=f"evaluation.data cannot be used: .*{why}"):
        held_out(tmp_path, **arrays)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("gone.npz", None, "names gone.npz, which is not in the task's folder"),
        ("rows.npz", b"no zip", r"rows\.npz cannot be read as \.npz"),
        ("rows.txt", b"1 2", r"rows\.txt must be a \.npz or \.csv file, or a folder of images"),
        ("rows.csv", b"a,b\n1,2\n", "lacks the columns y"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(
    tmp_path: Path, name: str, content: bytes | None, why: str
) -> None:
    copy = folder(tmp_path, name)
    if content is not None:
        (copy / name).write_bytes(content)
    with pytest.raises(InvalidTask, match=why):
        held_out_of(load_task(copy))


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "secret.npz", x=X, y=Y)
    copy = folder(tmp_path, "held-out.npz")
    (copy / "held-out.npz").symlink_to(tmp_path / "secret.npz")
    with pytest.raises(InvalidTask, match="outside the task's folder"):
        held_out_of(load_task(copy))


def test_a_model_that_is_not_dense_is_refused_in_a_sentence(tmp_path: Path) -> None:
    copy = folder(tmp_path, "held-out.npz", bundled_tasks() / "mnist")
    np.savez(copy / "held-out.npz", x=[[0.0]], y=[0])
    with pytest.raises(InvalidTask, match=r"layers of the kinds Conv2D.*, and only dense ones run here"):
        held_out_of(load_task(copy))


def test_an_activation_that_is_not_here_is_refused_in_a_sentence() -> None:
    with pytest.raises(SettingsError, match="has the activations gelu; here are linear, relu"):
        require_dense(Architecture((Layer("Dense", "gelu", {"units": 1}),), (2,)))


def test_dropout_does_nothing_and_a_layer_may_have_no_bias() -> None:
    layers = (
        Layer("Flatten", "linear", {}),
        Layer("Dense", "relu", {"units": 2, "use_bias": False}),
        Layer("Dropout", "linear", {"rate": 0.9}),
        Layer("Dense", "softmax", {"units": 2}),
    )
    weights = [np.asarray(each, np.float32) for each in (np.eye(2), np.eye(2), [0.0, np.log(3)])]
    said = outputs(Architecture(layers, (1, 2)), weights, np.zeros((1, 1, 2), np.float32))
    np.testing.assert_allclose(said, [[0.25, 0.75]], rtol=1e-6)


def test_a_submission_without_a_folder_has_no_such_scorer(tmp_path: Path) -> None:
    found = load_task(folder(tmp_path, "held-out.npz"))
    assert held_out_of(Submission(found.task, found.model)) is None
