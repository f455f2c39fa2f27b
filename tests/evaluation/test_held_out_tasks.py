"""Tasks with held-out examples on a real server, and those that it does not take."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from disco.cli import main
from disco.storage.catalogue import load_task
from tests.access.http import ask
from tests.conftest import Server, ServerFactory
from tests.evaluation.scorers import TINY, Scored
from tests.evaluation.serving import judged, state


@pytest.fixture
def tasks_dir(tmp_path: Path) -> Path:
    """A folder with the task ``scored``, which has held-out examples."""
    folder = shutil.copytree(TINY, tmp_path / "tasks" / "scored")
    text = (folder / "task.toml").read_text().replace('taskID = "tiny"', "")
    (folder / "task.toml").write_text(text + '\n[evaluation]\ndata = "held-out.npz"\n')
    np.savez(folder / "held-out.npz", x=[[1.0, 2.0], [3.0, 4.0]], y=[0, 1])
    return folder.parent


def document(**evaluation: Any) -> dict[str, Any]:
    return {**load_task(TINY).task.document, "taskID": "scored", "evaluation": evaluation}


async def test_a_folders_rounds_are_judged_by_its_examples(start: ServerFactory, tasks_dir: Path) -> None:
    async with start(tasks_dir=tasks_dir) as server:
        figures = await judged(server, 0, "evaluation.accuracy")
        assert figures.keys() == {"evaluation.accuracy", "evaluation.loss"}


async def test_a_folder_whose_examples_do_not_fit_is_not_served_and_the_others_are(
    start: ServerFactory, tasks_dir: Path
) -> None:
    shutil.copytree(TINY, tasks_dir / "tiny")
    np.savez(tasks_dir / "scored" / "held-out.npz", x=[[1.0]], y=[1])
    async with start(tasks_dir=tasks_dir) as server:
        assert [entry.task.id for entry in server.app.directory] == ["tiny"]
        ((name, why),) = server.app.broken
        assert name == "scored"
        assert "evaluation.data cannot be used: held-out.npz has inputs of 1 values" in why


async def test_a_task_whose_folder_is_gone_goes_on_and_says_why_nothing_is_judged(
    start: ServerFactory, tasks_dir: Path
) -> None:
    async with start(tasks_dir=tasks_dir):
        pass
    async with start() as server:
        trouble = (await state(server))["evaluation"]["trouble"]
        assert trouble == "rounds are not evaluated: held-out.npz was in the task's folder, which is not here"


async def test_a_task_by_http_cannot_name_a_file(server: Server) -> None:
    found = load_task(TINY)
    weights = base64.b64encode(found.model.weights_bin(found.model.weights)).decode()
    body = {"task": document(data="held-out.npz"), "model": found.model.tfjs_json(), "weights": weights}
    answer = await ask(server.url + "/tasks", "POST", json.dumps(body).encode())
    assert answer.status == 422
    assert "this task has none: serve it from a folder of tasks" in answer.json["fields"][0]["problem"]


async def test_a_changed_document_names_the_same_data(start: ServerFactory, tasks_dir: Path) -> None:
    async with start(tasks_dir=tasks_dir) as server:
        body = json.dumps(document(data="other.npz")).encode()
        answer = await ask(server.url + "/tasks/scored", "PUT", body)
        assert answer.status == 422
        assert answer.json["fields"][0]["path"] == "task.evaluation.data"
        wanted = document(data="held-out.npz", keepBest={"figure": "evaluation.loss", "mode": "min"})
        changed = await ask(server.url + "/tasks/scored", "PUT", json.dumps(wanted).encode())
        assert changed.status == 200
        await judged(server, 0, "evaluation.loss")
        assert (await state(server))["best"] == 0


async def test_a_scorer_of_the_main_program_is_refused_in_a_sentence(start: ServerFactory) -> None:
    class Local(Scored):
        pass

    Local.__module__ = "__main__"
    async with start(providers=[Local()]) as server:
        ((_, why),) = server.app.broken
        assert "put it in a module" in why


def test_disco_tasks_check_reads_held_out_examples(tasks_dir: Path) -> None:
    assert CliRunner().invoke(main, ["tasks", "check", str(tasks_dir)]).exit_code == 0
    (tasks_dir / "scored" / "held-out.npz").unlink()
    checked = CliRunner().invoke(main, ["tasks", "check", str(tasks_dir)])
    assert checked.exit_code == 1
    assert "names held-out.npz, which is not in the task's folder" in checked.output
