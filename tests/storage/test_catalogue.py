from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from disco.core.submission import Submission
from disco.errors import InvalidTask, SettingsError
from disco.settings import bundled_tasks
from disco.storage.catalogue import from_provider, import_provider, load_folder, load_model, load_task
from tests.core import oracles

BUNDLED = bundled_tasks()
NAMES = ["breast_cancer", "cifar10", "digits", "lus_covid", "mnist", "simple_face", "titanic"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of tasks that holds one, a copy of titanic."""
    shutil.copytree(BUNDLED / "titanic", tmp_path / "titanic")
    return tmp_path


def edit_model(folder: Path, **changes: Any) -> None:
    file = folder / "titanic" / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def replace_in(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


# ── The bundled tasks ────────────────────────────────────────────────────────────────────────────────────


def test_the_bundled_tasks_are_there_and_whole() -> None:
    found = load_folder(BUNDLED)

    assert ([submission.task.id for submission in found.tasks], found.broken) == (NAMES, [])


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_task_is_one_for_clients_of_all_generations(name: str) -> None:
    task = load_task(BUNDLED / name).task

    assert oracles.v2_is_task(task.for_v2())
    assert [
        check(task.public()) for check in (oracles.v2_is_task, oracles.v3_is_task, oracles.v4_is_task)
    ] == [
        True,
        True,
        True,
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_task_is_written_in_v2_s_words_and_served_as_it_is(name: str) -> None:
    task = load_task(BUNDLED / name).task

    assert task.for_v2() == task.document


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_s_files_come_out_as_they_went_in(name: str) -> None:
    model = load_model(BUNDLED / name)

    assert model.tfjs_json() == json.loads((BUNDLED / name / "model.json").read_text())
    assert model.weights_bin() == (BUNDLED / name / "weights.bin").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_is_small_enough_for_a_browser_s_peer_connection(name: str) -> None:
    assert load_model(BUNDLED / name).weights.parameters < 300_000


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_fits_the_data_that_its_task_describes(name: str) -> None:
    submission = load_task(BUNDLED / name)
    training = submission.task.document["trainingInformation"]
    layers = submission.model.artifacts["modelTopology"]["config"]["layers"]
    inputs = layers[0]["config"]["batch_input_shape"][1:]
    if submission.task.data_type == "image":
        assert inputs[:2] == [training["IMAGE_H"], training["IMAGE_W"]]
        assert layers[-1]["config"]["units"] == len(training["LABEL_LIST"])
    else:
        assert inputs == [len(training["inputColumns"])]
        assert layers[-1]["config"]["units"] == len(training["outputColumns"])


# ── Folders ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_broken_folder_is_told_by_name_and_stops_no_other(folder: Path) -> None:
    shutil.copytree(folder / "titanic", folder / "broken")
    (folder / "broken" / "weights.bin").unlink()
    replace_in(folder / "broken" / "task.toml", "epochs = 20", "epochs = -1")
    replace_in(folder / "broken" / "task.toml", 'taskID = "titanic"', "")

    found = load_folder(folder)

    assert [submission.task.id for submission in found.tasks] == ["titanic"]
    assert found.broken == [
        (
            "broken",
            "task.toml.trainingInformation.epochs must be at least 1, not -1; "
            "weights.bin cannot be read: No such file or directory",
        )
    ]


def test_a_task_s_id_is_its_folder_s_name_if_it_gives_none(folder: Path) -> None:
    replace_in(folder / "titanic" / "task.toml", 'taskID = "titanic"', "")

    assert load_task(folder / "titanic").task.id == "titanic"


def test_a_task_with_another_id_than_its_folder_is_broken(folder: Path) -> None:
    (folder / "titanic").rename(folder / "lusitania")

    [(name, problem)] = load_folder(folder).broken

    assert name == "lusitania"
    assert "titanic" in problem


@pytest.mark.parametrize("name", ["task.toml", "model.json", "weights.bin"])
@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"[[[", b"[" * 100_000, b""])
def test_a_folder_with_a_missing_or_unreadable_file_is_broken(
    folder: Path, name: str, content: bytes | None
) -> None:
    file = folder / "titanic" / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)

    [(_, problem)] = load_folder(folder).broken

    assert problem


def test_toml_s_own_values_are_refused_where_json_has_none(folder: Path) -> None:
    replace_in(
        folder / "titanic" / "task.toml", "validationSplit = 0", "validationSplit = nan\nsince = 1912-04-15"
    )

    with pytest.raises(InvalidTask) as caught:
        load_task(folder / "titanic")

    assert {problem.path for problem in caught.value.problems} == {
        "task.toml.trainingInformation.validationSplit",
        "task.toml.trainingInformation.since",
    }


def test_weights_may_lie_in_several_files(folder: Path) -> None:
    task = folder / "titanic"
    data = (task / "weights.bin").read_bytes()
    whole = load_model(task)
    (task / "first").write_bytes(data[:1000])
    (task / "second").write_bytes(data[1000:])
    edit_model(
        folder, weightsManifest=[{"paths": ["first", "second"], "weights": whole.artifacts["weightSpecs"]}]
    )

    assert load_model(task).weights.equals(whole.weights)


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "a/../../secret", "link", "nul\0"])
def test_a_manifest_cannot_read_files_outside_its_folder(folder: Path, path: str) -> None:
    specs = load_model(folder / "titanic").artifacts["weightSpecs"]
    (folder / "secret").write_bytes((folder / "titanic" / "weights.bin").read_bytes())
    (folder / "titanic" / "link").symlink_to(folder / "secret")
    edit_model(folder, weightsManifest=[{"paths": [path], "weights": specs}])

    with pytest.raises(InvalidTask, match=r"outside its folder|cannot exist"):
        load_model(folder / "titanic")


def test_folders_that_tools_leave_behind_are_no_tasks(folder: Path) -> None:
    for name in (".git", "__pycache__"):
        (folder / name).mkdir()
    (folder / "README.md").touch()

    assert load_folder(folder).broken == []


def test_a_folder_of_tasks_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert load_folder(tmp_path / "nowhere").broken == [
        ("nowhere", "cannot be listed: No such file or directory")
    ]


# ── Providers ────────────────────────────────────────────────────────────────────────────────────────────


class Provider:
    """Gives what a test wants it to give."""

    def __init__(self, task: Any, model: Any) -> None:
        self.task, self.model = task, model

    def get_task(self) -> Any:
        return self.task

    def get_model(self) -> Any:
        return self.model


def titanic() -> Submission:
    return load_task(BUNDLED / "titanic")


def test_a_provider_may_give_a_task_or_its_document() -> None:
    for given in (titanic().task, titanic().task.document):
        assert from_provider(Provider(given, titanic().model)).task.document == titanic().task.document


def test_a_provider_may_give_a_model_a_folder_or_the_contents_of_files() -> None:
    model = titanic().model
    for given in (model, BUNDLED / "titanic", (model.tfjs_json(), model.weights_bin())):
        assert from_provider(Provider(titanic().task, given)).model.weights.equals(model.weights)


@pytest.mark.parametrize(
    ("task", "model"), [({}, titanic().model), (titanic().task, None), (None, titanic().model)]
)
def test_a_provider_of_something_else_is_refused(task: Any, model: Any) -> None:
    with pytest.raises(InvalidTask):
        from_provider(Provider(task, model))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the working directory with providers, and things that are none."""
    (tmp_path / "my_tasks.py").write_text(
        "class Good:\n"
        "    def get_task(self): return {}\n"
        "    def get_model(self): return None\n"
        "class Half:\n"
        "    def get_task(self): return {}\n"
        "class Broken(Good):\n"
        "    def __init__(self): raise RuntimeError('no disk')\n"
    )
    (tmp_path / "my_broken.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_tasks", raising=False)
    return "my_tasks"


def test_a_provider_is_imported_from_the_working_directory(module: str) -> None:
    assert type(import_provider(f"{module}:Good")).__name__ == "Good"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("my_tasks", "write package.module:Class"),
        (":Good", "write package.module:Class"),
        ("my_tasks:", "write package.module:Class"),
        ("my_tasks:Missing", "has no attribute 'Missing'"),
        ("my_tasks:Half", "needs get_task"),
        ("my_tasks:Broken", "RuntimeError: no disk"),
        ("my_broken:Good", "ZeroDivisionError"),
        ("no_such_module_here:Good", "No module named"),
    ],
)
@pytest.mark.usefixtures("module")
def test_what_cannot_be_a_provider_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        import_provider(name)
