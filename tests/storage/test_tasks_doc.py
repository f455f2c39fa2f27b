"""The examples of docs/tasks.md, as a reader would type them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from disco.core.submission import read_submission
from disco.core.task_schema import TASK
from disco.storage.catalogue import from_provider, import_provider, load_folder

DOC = Path(__file__).parents[2] / "docs" / "tasks.md"
BLOCK = re.compile(r"^```\w+ (file|run)=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A directory with the files of the document, after its commands have run."""
    for kind, name, text in BLOCK.findall(DOC.read_text("utf-8")):
        if kind == "file":
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        else:
            subprocess.run([sys.executable, "-c", text], cwd=tmp_path / name, check=True)
    return tmp_path


def test_the_folder_is_a_task(written: Path) -> None:
    found = load_folder(written / "tasks")

    assert ([submission.task.title for submission in found.tasks], found.broken) == (["Rain tomorrow"], [])


def test_the_class_provides_a_task(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(written)
    monkeypatch.setattr(sys, "path", [*sys.path])

    assert from_provider(import_provider("weather:Wind")).task.title == "Storm tomorrow"


def test_the_request_is_a_task(written: Path) -> None:
    body = (written / "snow.json").read_bytes()

    assert read_submission(body, "application/json").task.title == "Snow tomorrow"


@pytest.mark.parametrize("section", ["displayInformation", "trainingInformation", "aggregation", "session"])
def test_every_key_is_explained(section: str) -> None:
    prefix = f"{section}." if section in ("aggregation", "session") else ""
    explained = {
        name
        for row in re.findall(r"^\| (.*?) \|", DOC.read_text("utf-8"), re.MULTILINE)
        for name in row.split("`")
    }

    assert {prefix + key for key in TASK["properties"][section]["properties"]} <= explained


def test_every_key_at_the_top_is_explained() -> None:
    text = DOC.read_text("utf-8")

    assert [key for key in TASK["properties"] if f"`{key}" not in text] == []
