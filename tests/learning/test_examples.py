"""Reading and judging examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from disco.errors import SettingsError
from disco.learning.examples import Examples, judge
from disco.learning.pictures import read_pictures
from disco.learning.tables import read_table

TABULAR = {"trainingInformation": {"inputColumns": ["a", "b"], "outputColumns": ["y"]}}
IMAGES: dict[str, Any] = {"trainingInformation": {"LABEL_LIST": ["cat", "dog"], "preprocessingFunctions": []}}


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(text, "utf-8")
    return path


def test_columns_are_found_by_name_whatever_their_order(tmp_path: Path) -> None:
    read = read_table(table(tmp_path, "\ufeffy,other,b,a\n1,x,2,3\n0,y,4,5\n"), TABULAR, 1)
    assert (read.examples.inputs.tolist(), read.examples.targets.tolist()) == ([[3, 2], [5, 4]], [[1], [0]])


@pytest.mark.parametrize("value", ["", " ", "NA", "nan", "?"])
def test_rows_that_lack_a_value_are_left_out_and_counted(tmp_path: Path, value: str) -> None:
    read = read_table(table(tmp_path, f"a,b,y\n1,{value},1\n1,2,0\n"), TABULAR, 1)
    assert (len(read.examples), read.left_out) == (1, 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,y\n1,1\n", "lacks the columns b"),
        ("a,b,y\n1,two,1\n", "line 2: b is 'two', which is no number"),
        ("a,b,y\n1,inf,1\n", "line 2: b is 'inf'"),
        ("a,b,y\n", "has no row"),
        ("", "lacks the columns a, b, y"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_in_a_sentence(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        read_table(table(tmp_path, text), TABULAR, 1)


def test_a_column_of_classes_becomes_an_output_for_each(tmp_path: Path) -> None:
    read = read_table(table(tmp_path, "a,b,y\n1,1,2\n1,1,0\n"), TABULAR, 3)
    assert read.examples.targets.tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("value", ["3", "-1", "0.5"])
def test_a_class_that_the_model_does_not_have_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingsError, match="must be a class from 0 to 2"):
        read_table(table(tmp_path, f"a,b,y\n1,1,{value}\n"), TABULAR, 3)


def test_standardized_columns_have_mean_0_and_deviation_1(tmp_path: Path) -> None:
    read = read_table(table(tmp_path, "a,b,y\n1,7,0\n3,7,1\n"), TABULAR, 1, standardize=True)
    assert read.examples.inputs.tolist() == [[-1, 0], [1, 0]]


def pictures(tmp_path: Path, *labels: str, value: int = 200) -> Path:
    for label in labels:
        (tmp_path / label).mkdir()
        Image.new("RGB", (8, 4), (value, 0, 0)).save(tmp_path / label / "one.png")
        (tmp_path / label / "notes.txt").write_text("no image")
    return tmp_path


def test_images_are_read_by_label_in_the_models_size(tmp_path: Path) -> None:
    examples = read_pictures(pictures(tmp_path, "dog", "cat"), IMAGES, (2, 3, 3))
    assert examples.inputs.shape == (2, 2, 3, 3)
    assert examples.inputs[0, 0, 0].tolist() == [200, 0, 0]
    assert examples.targets.tolist() == [[1, 0], [0, 1]]


def test_images_are_normalized_where_the_task_says_so(tmp_path: Path) -> None:
    task = {"trainingInformation": {**IMAGES["trainingInformation"], "preprocessingFunctions": ["normalize"]}}
    examples = read_pictures(pictures(tmp_path, "dog", value=255), task, (2, 3, 3))
    assert examples.inputs.max() == 1


def test_a_folder_that_is_no_label_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="bird is no label of the task; it has cat, dog"):
        read_pictures(pictures(tmp_path, "bird"), IMAGES, (2, 3, 3))


def test_a_folder_without_images_says_how_to_lay_them_out(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="put them in a folder a label"):
        read_pictures(tmp_path, IMAGES, (2, 3, 3))


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (pictures(tmp_path, "cat") / "cat" / "two.png").write_bytes(b"no image")
    with pytest.raises(SettingsError, match=r"two\.png is not an image"):
        read_pictures(tmp_path, IMAGES, (2, 3, 3))


def test_a_split_keeps_every_example_once() -> None:
    examples = Examples(np.arange(10, dtype=np.float32).reshape(10, 1), np.zeros((10, 1), np.float32))
    train, validation = examples.split(0.3, seed=1)
    assert (len(train), len(validation)) == (7, 3)
    assert sorted([*train.inputs[:, 0], *validation.inputs[:, 0]]) == list(range(10))


@pytest.mark.parametrize(("count", "fraction"), [(1, 0.5), (5, 0.0)])
def test_where_none_can_be_spared_the_same_examples_validate(count: int, fraction: float) -> None:
    examples = Examples(np.zeros((count, 1), np.float32), np.zeros((count, 1), np.float32))
    assert examples.split(fraction, seed=1) == (examples, examples)


def test_losses_are_those_of_the_last_activation() -> None:
    outputs, targets = np.array([[0.9, 0.1]], np.float32), np.array([[1, 0]], np.float32)
    assert judge(outputs, targets, "softmax")["loss"] == pytest.approx(-np.log(0.9))
    assert judge(outputs, targets, "sigmoid")["loss"] == pytest.approx(-np.log(0.9))
    assert judge(outputs, targets, "linear") == {"loss": pytest.approx(0.01)}
