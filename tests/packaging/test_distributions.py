"""What is published: complete, typed, and the same from both distributions."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
import tomllib
import urllib.request
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.packaging.conftest import ROOT, Installed

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PATIENCE = 30.0


def names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def tracked(*folders: str) -> set[str]:
    """Files that git would publish: tracked ones, and new ones that it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("this is no git checkout")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    assert tracked("disco") - names(wheel) == set()


def test_the_wheel_has_the_default_tasks(wheel: Path) -> None:
    tasks = {f"disco/bundled_{name}" for name in tracked("tasks")}
    assert tasks - names(wheel) == set()


def test_the_wheel_has_nothing_else(wheel: Path) -> None:
    foreign = {name.split("/")[0] for name in names(wheel)} - {"disco"}
    assert {re.sub(r"-[\d.]+(\.dev\d+)?\.dist-info", "", name) for name in foreign} == {"disco_server"}
    assert [name for name in names(wheel) if "__pycache__" in name or name.endswith((".pyc", ".orig"))] == []


def test_a_wheel_built_from_the_sdist_is_the_same(wheel: Path, wheel_of_sdist: Path) -> None:
    assert names(wheel_of_sdist) == names(wheel)


def test_the_sdist_says_what_changed_and_under_which_licence(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"} <= files


def test_the_package_is_marked_as_typed(wheel: Path) -> None:
    assert "disco/py.typed" in names(wheel)


def test_the_metadata_is_complete(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    assert metadata["Name"] == "disco-server"
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert set(metadata.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    assert str(metadata.get_payload()).startswith("# Disco")


def test_the_server_alone_needs_no_framework(wheel: Path) -> None:
    needed = {re.split(r"[\[<>=!~ ;]", line)[0].lower() for line in PROJECT["dependencies"]}
    assert needed & {"scikit-learn", "torch", "matplotlib", "aiortc", "mkdocs", "pytest"} == set()


@pytest.mark.parametrize("program", ["disco", "disco-server"])
def test_the_programs_say_their_version(installed: Installed, tmp_path: Path, program: str) -> None:
    assert installed.run(program, "--version", folder=tmp_path) == f"disco, version {PROJECT['version']}\n"


def test_what_is_imported_is_the_installed_package(installed: Installed, tmp_path: Path) -> None:
    found = installed.run("python", "-c", "import disco; print(disco.__file__)", folder=tmp_path)
    assert Path(found.strip()).is_relative_to(installed.folder)


@pytest.mark.parametrize(
    "command",
    [("disco", "serve", "--port", "0"), ("python", "-m", "hypercorn", "disco.app:app", "-b", "127.0.0.1:0")],
    ids=["disco serve", "hypercorn"],
)
def test_it_serves_its_tasks_from_an_empty_folder(
    installed: Installed, tmp_path: Path, command: tuple[str, ...]
) -> None:
    program, *arguments = command
    with subprocess.Popen(
        [installed.program(program), *arguments],
        cwd=tmp_path, env=installed.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    with urllib.request.urlopen(f"{found[0]}/tasks", timeout=PATIENCE) as answer:
                        served = {task["id"] for task in json.load(answer)}
                    break
            else:
                pytest.fail("it did not start: " + "".join(said))
        finally:
            process.terminate()
            process.wait(PATIENCE)
    assert served == set(os.listdir(ROOT / "tasks"))
    assert os.listdir(tmp_path) == ["disco-data"]
