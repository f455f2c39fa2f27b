from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from disco.cli import main
from disco.core.task import Task
from disco.storage.sqlite import SqliteStore
from tests.storage.samples import model, record, save, task, weights


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """A store that its server still holds while the commands run."""
    with closing(SqliteStore(tmp_path / "data")) as opened:
        opened.add_task(task(), model(), "folder", 0.0)
        save(opened, "titanic", 1)
        opened.save_round(task().id, record(2, accuracy=0.75), weights(2))
        yield opened


def disco(tmp_path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--data-dir", str(tmp_path / "data")])


def test_rounds_are_listed_with_their_figures(tmp_path: Path) -> None:
    header, *lines = disco(tmp_path, "rounds", "titanic").stdout.splitlines()
    assert header.split("\t") == [
        "round",
        "closed at",
        "participants",
        "contributions",
        "seconds",
        "accuracy",
    ]
    rows = [line.split("\t") for line in lines]
    assert [(row[0], *row[2:]) for row in rows] == [
        ("0", "0", "0", "0.000", ""),
        ("1", "3", "2", "0.250", ""),
        ("2", "3", "2", "0.250", "0.750"),
    ]
    assert all(len(row) == 6 for row in rows)


def test_rounds_as_json_have_every_figure_in_full(tmp_path: Path) -> None:
    listed = json.loads(disco(tmp_path, "rounds", "titanic", "--json").stdout)
    assert listed[2] == {
        "number": 2,
        "closed_at": 1002.5,
        "participants": 3,
        "contributions": 2,
        "seconds": 0.25,
        "figures": {"accuracy": 0.75},
        "best": False,
    }


@pytest.fixture
def best(store: SqliteStore) -> None:
    """Round 2 is the best by the task's own figure, which round 3 does not reach."""
    document = {**task().document, "evaluation": {"keepBest": {"figure": "accuracy", "mode": "max"}}}
    store.update_task(Task.from_document(document))
    store.save_round(task().id, record(3, accuracy=0.5), weights(3))


def test_the_best_round_has_a_star(tmp_path: Path, best: None) -> None:
    _, *lines = disco(tmp_path, "rounds", "titanic").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["0", "1", "2 *", "3"]


def test_the_best_round_can_be_written(tmp_path: Path, best: None) -> None:
    to = tmp_path / "best.npz"
    done = disco(tmp_path, "export", "titanic", "--round", "best", "--to", str(to))
    assert done.stdout.startswith("Round 2 of titanic")


def test_a_task_that_keeps_no_best_round_has_none_to_write(tmp_path: Path) -> None:
    done = disco(tmp_path, "export", "titanic", "--round", "best", "--to", str(tmp_path / "best.npz"))
    assert done.exit_code == 1
    assert "evaluation.keepBest says by which figure" in done.output


def test_what_is_no_round_is_refused(tmp_path: Path) -> None:
    done = disco(tmp_path, "export", "titanic", "--round", "-1", "--to", str(tmp_path / "x.npz"))
    assert done.exit_code == 2
    assert "'-1' is not the number of a round, or best" in done.output


def test_the_latest_round_is_exported_unless_told_otherwise(tmp_path: Path) -> None:
    done = disco(tmp_path, "export", "titanic", "--to", str(tmp_path / "latest.npz"))
    assert done.stdout == f"Round 2 of titanic: {tmp_path}/latest.npz\n"
    with np.load(tmp_path / "latest.npz") as found:
        np.testing.assert_array_equal(found["dense/0"], weights(2).arrays()[0])


def test_a_round_is_exported_by_its_number(tmp_path: Path) -> None:
    done = disco(tmp_path, "export", "titanic", "--round", "1", "--to", str(tmp_path / "one"), "--json")
    files = [f"{tmp_path}/one/weights.bin", f"{tmp_path}/one/model.json"]
    assert json.loads(done.stdout) == {"task": "titanic", "round": 1, "files": files}
    assert (tmp_path / "one/weights.bin").read_bytes() == weights(1).flat.tobytes()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["rounds", "nobody"], 1, "There is no task nobody"),
        (["export", "nobody", "--to", "x.npz"], 1, "There is no task nobody"),
        (
            ["export", "titanic", "--round", "7", "--to", "x.npz"],
            1,
            "The task titanic has no round 7 on disk",
        ),
        (["export", "titanic", "--to", "x.onnx"], 2, "x.onnx must be a directory or end in"),
        (["export", "titanic"], 2, "Missing option '--to'"),
        (["export", "titanic", "--round", "-1", "--to", "x.npz"], 2, "Invalid value for '--round'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_on_stderr(
    tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    refused = disco(tmp_path, *arguments)
    assert (refused.exit_code, refused.stdout) == (code, "")
    assert sentence in refused.stderr


def test_the_data_directory_may_come_from_the_environment(tmp_path: Path) -> None:
    environment = {"DISCO_DATA_DIR": str(tmp_path / "data")}
    listed = CliRunner().invoke(main, ["rounds", "titanic", "--json"], env=environment)
    assert len(json.loads(listed.stdout)) == 3


def test_a_directory_without_data_is_told_with_the_option_to_use(tmp_path: Path) -> None:
    refused = CliRunner().invoke(main, ["rounds", "titanic", "--data-dir", str(tmp_path)])
    assert refused.exit_code == 1
    assert "name the server's with --data-dir" in refused.stderr
