"""A server in a process of its own, as its users run it, for clients that are not ours."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.conftest import TINY
from tests.interop.strict.driver import Page, open_page

#: Seconds that one script of the kit may take; the longest takes about ten.
PATIENCE = 120

Kit: TypeAlias = Callable[..., dict[str, Any]]
OpenPage: TypeAlias = Callable[[str], AbstractAsyncContextManager[Page]]
TinyTask: TypeAlias = Callable[..., Path]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of ``disco serve`` with its default tasks, and rounds that wait a second for whoever is present."""
    with serving(tmp_path_factory.mktemp("interop") / "data", interval="1") as url:
        yield url


@pytest.fixture(scope="session")
def served_impatiently(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same with rounds that hardly wait.

    The kit's training script keeps an observer connected that never contributes, and trains for a second.
    """
    with serving(tmp_path_factory.mktemp("impatient") / "data", interval="0.1") as url:
        yield url


@contextmanager
def serving(data: Path, interval: str) -> Iterator[str]:
    command = [sys.executable, "-m", "disco", "serve", "--port", "0", "--data-dir", str(data)]
    with subprocess.Popen(
        [*command, "--aggregation-interval", interval, "--log-level", "warning"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "120"},
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.match(r"address\s+(\S+)", line):
                    yield found[1]
                    break
            else:
                pytest.fail("the server did not start")
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture
def kit(served: str, interop_kit: Path, node_environment: dict[str, str]) -> Kit:
    """Run a script of the kit against the server; returns its verdict, after failing on any failed check."""
    return partial(run_kit, served, interop_kit, node_environment)


@pytest.fixture
def impatient_kit(served_impatiently: str, interop_kit: Path, node_environment: dict[str, str]) -> Kit:
    """Run a script of the kit against a server whose rounds hardly wait."""
    return partial(run_kit, served_impatiently, interop_kit, node_environment)


def run_kit(
    url: str, folder: Path, environment: dict[str, str], script: str, *arguments: str
) -> dict[str, Any]:
    done = subprocess.run(
        ["node", script, url, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    failed = [line for line in lines if line.get("ok") is False or "fatal" in line]
    assert done.returncode == 0, failed or (lines[-1:], done.stderr[-2000:])
    verdict: dict[str, Any] = lines[-1]
    assert verdict["result"] == "ok"
    assert verdict["checks"] > 0
    return verdict


@pytest.fixture
def strict(interop_kit: Path, node_environment: dict[str, str]) -> OpenPage:
    """Open a page with strict clients of ours against a server: `async with strict(url) as page`."""
    return partial(open_page, environment=node_environment)


@pytest.fixture
def tiny_task(tmp_path: Path) -> TinyTask:
    """Make a folder with the tiny task, with more lines of TOML for its training and at its end."""

    def make(training: str = "", sections: str = "") -> Path:
        folder = tmp_path / "tasks"
        shutil.copytree(TINY / "tiny", folder / "tiny")
        file = folder / "tiny" / "task.toml"
        compile_data = "[trainingInformation.modelCompileData]"
        file.write_text(file.read_text().replace(compile_data, f"{training}\n{compile_data}") + sections)
        return folder

    return make
