"""Fixtures: a real server on a free port, and the kit that drives the real npm client."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import settings as hypothesis_settings

from disco.app import Disco
from disco.cli.hosting import running
from disco.settings import Settings

# A gate says the same of the same commit, however busy its machine is. `--hypothesis-profile search` looks further.
hypothesis_settings.register_profile("gate", derandomize=True, deadline=None, print_blob=True)
hypothesis_settings.register_profile("search", deadline=None, print_blob=True)
hypothesis_settings.load_profile("gate")

HERE = Path(__file__).parent
TINY = HERE / "tasks"


@dataclass(frozen=True)
class Server:
    """A server that runs: its URL without a trailing slash, its app and its settings."""

    url: str
    app: Disco
    settings: Settings

    @property
    def ws(self) -> str:
        return "ws" + self.url.removeprefix("http")


ServerFactory: TypeAlias = Callable[..., AbstractAsyncContextManager[Server]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a server for tests: a free port, a fresh data directory, one tiny task."""
    return Settings(port=0, data_dir=tmp_path / "data", tasks_dir=TINY, graceful=2.0)


@pytest.fixture
def start(settings: Settings) -> ServerFactory:
    """Start servers: `async with start(port=…) as server`; keywords change the settings."""

    @asynccontextmanager
    async def starting(providers: Any = (), **changes: Any) -> AsyncIterator[Server]:
        changed = replace(settings, **changes)
        async with running(changed, providers) as (app, url):
            yield Server(url, app, changed)

    return starting


@pytest.fixture
async def server(start: ServerFactory) -> AsyncIterator[Server]:
    """One server with the tiny task."""
    async with start() as running_server:
        yield running_server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was left out, and why, however quiet the run was asked to be."""
    reasons = Counter(str(report.longrepr[-1]) for report in terminalreporter.getreports("skipped"))
    for reason, count in reasons.items():
        terminalreporter.write_line(
            f"{count} left out. {reason.removeprefix('Skipped: ')}", yellow=True, bold=True
        )


def missing(what: str) -> None:
    """Skip, or fail where the suite was asked to leave nothing out."""
    if os.environ.get("DISCO_REQUIRE_INTEROP") or os.environ.get("CI"):
        pytest.fail(f"{what}, and interop was required")
    pytest.skip(what)


@pytest.fixture(scope="session")
def node_environment() -> dict[str, str]:
    """The environment in which node and npm are found."""
    path = os.pathsep.join(filter(None, [os.environ.get("DISCO_NODE_BIN"), os.environ.get("PATH", "")]))
    if shutil.which("node", path=path) is None or shutil.which("npm", path=path) is None:
        missing("Node.js is not here")
    return {**os.environ, "PATH": path}


@pytest.fixture(scope="session")
def interop_kit(node_environment: dict[str, str]) -> Path:
    """The folder of the interop kit, its npm packages installed from the lock file."""
    kit = HERE / "interop"
    lock, installed = kit / "package-lock.json", kit / "node_modules" / ".disco-lock"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        done = subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund"],
            cwd=kit, env=node_environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            missing(f"npm ci failed: {done.stderr[-500:]}")
        installed.write_bytes(lock.read_bytes())
    return kit
