"""The release script, on small checkouts of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "disco-server"
version = "1.2.3"
description = "A small one"
readme = "README.md"
license = "Apache-2.0"
requires-python = ">=3.11"
[tool.hatch.build.targets.wheel]
packages = ["disco"]
"""
CHANGELOG = "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2026-11-30\n\n- Everything.\n"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that is fit to be released."""
    files = {
        "pyproject.toml": PYPROJECT,
        "CHANGELOG.md": CHANGELOG,
        "README.md": "# Disco\n",
        ".gitignore": "dist/\n",
        "disco/__init__.py": "",
        "disco/py.typed": "",
        "deploy/kubernetes.yaml": "image: disco-server:1.2.3\n",
        "scripts/release.py": (ROOT / "scripts" / "release.py").read_text("utf-8"),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    git(tmp_path, "init", "--quiet")
    # The release's own git needs somebody too, and a fresh machine knows nobody.
    for name, value in (("user.name", "Test"), ("user.email", "test@example.org"), ("tag.gpgsign", "false")):
        git(tmp_path, "config", name, value)
    commit(tmp_path)
    return tmp_path


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All")


def release(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/release.py", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_fit_checkout_is_built_and_what_is_left_is_told(checkout: Path) -> None:
    done = release(checkout)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (checkout / "dist").iterdir()} >= {
        "disco_server-1.2.3-py3-none-any.whl",
        "disco_server-1.2.3.tar.gz",
    }
    assert "git tag --annotate v1.2.3" in done.stdout
    assert git(checkout, "tag") == ""


def test_the_tag_is_made_when_asked_for(checkout: Path) -> None:
    assert release(checkout, "--tag").returncode == 0
    assert git(checkout, "tag") == "v1.2.3\n"


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text("utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), "utf-8")
        commit(folder)

    return change


def remove_the_type_marker(folder: Path) -> None:
    (folder / "disco" / "py.typed").unlink()
    commit(folder)


def make_the_tag(folder: Path) -> None:
    git(folder, "tag", "v1.2.3")


def leave_a_new_file(folder: Path) -> None:
    (folder / "new").write_text("")


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no version": (edit("pyproject.toml", '"1.2.3"', '"one"'), "one is no version"),
    "another version": (
        edit("pyproject.toml", '"1.2.3"', '"1.3.0"'),
        "the newest version is 1.2.3, not 1.3.0",
    ),
    "the image is old": (edit("pyproject.toml", '"1.2.3"', '"1.3.0"'), "names disco-server:1.2.3, not 1.3.0"),
    "unreleased entries": (
        edit("CHANGELOG.md", "Unreleased\n", "Unreleased\n\n- More.\n"),
        'under "Unreleased"',
    ),
    "no date": (edit("CHANGELOG.md", " - 2026-11-30", ""), "must end in a date"),
    "the tag exists": (make_the_tag, "the tag v1.2.3 exists already"),
    "a new file": (leave_a_new_file, "1 files are changed or new"),
    "no description": (edit("README.md", "# Disco\n", ""), "it has no description"),
    "no licence": (
        edit("pyproject.toml", 'license = "Apache-2.0"\n', ""),
        "its metadata lacks License-Expression",
    ),
    "no type marker": (remove_the_type_marker, "disco/py.typed is missing"),
}


@pytest.mark.parametrize(("change", "problem"), FAULTS.values(), ids=list(FAULTS))
def test_a_fault_stops_the_release(checkout: Path, change: Callable[[Path], None], problem: str) -> None:
    change(checkout)
    tags = git(checkout, "tag")
    done = release(checkout, "--tag")
    assert done.returncode == 1
    assert problem in done.stderr
    assert git(checkout, "tag") == tags


def test_all_faults_are_told_at_once(checkout: Path) -> None:
    edit("CHANGELOG.md", " - 2026-11-30", "")(checkout)
    leave_a_new_file(checkout)
    assert len(release(checkout).stderr.splitlines()) == 2
