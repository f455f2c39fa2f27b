"""A real Chromium, and a server of its own for its pages."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")
#: Widths of a phone and of a desk, in CSS pixels.
WIDTHS = (390, 1280)
#: Pixels of a page that a picture for the docs shows at most.
TALLEST = 1900
#: Seconds for anything that a page does, on a busy machine.
PATIENCE = 60

OpenPage: TypeAlias = Callable[..., Any]


def lacking(what: str) -> None:
    """Skip loudly, or fail where nothing may be left out."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI leaves nothing out")
    sys.stderr.write(f"\nSKIPPED: the dashboard's browser tests: {what}\n")
    pytest.skip(what)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium: the one named in DISCO_CHROMIUM, the script's, or one that is on the path."""
    if named := os.environ.get("DISCO_CHROMIUM"):
        return named
    script = ROOT / "scripts" / "browser"
    if script.exists():
        done = subprocess.run([script], capture_output=True, text=True, timeout=600, check=False)
        if done.returncode == 0 and (printed := done.stdout.strip().splitlines()):
            return printed[-1]
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        lacking("there is no Chromium: apt-get install chromium, or name one in DISCO_CHROMIUM")
    return str(found)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """A browser that is running, for one module: its event loop is in the way of every test that runs Trio."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        lacking("the package playwright is not installed")
    with pytest.MonkeyPatch.context() as patch:
        # trio-asyncio, once imported, makes loops that run inside Trio.
        patch.setattr(asyncio, "new_event_loop", asyncio.SelectorEventLoop)
        manager = sync_playwright()
        playwright = manager.__enter__()
    try:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()
    finally:
        manager.__exit__(None, None, None)


@pytest.fixture(scope="session")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of ``disco serve`` with its default tasks, whose rounds close quickly."""
    data = tmp_path_factory.mktemp("dashboard") / "data"
    command = [sys.executable, "-m", "disco", "serve", "--port", "0", "--data-dir", str(data)]
    with subprocess.Popen(
        [*command, "--log-level", "warning"], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "COLUMNS": "120"},
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            addresses = (re.match(r"address\s+(\S+)", line) for line in process.stdout)
            yield next(found[1] for found in addresses if found).rstrip("/")
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture
def open_page(browser: Any, dashboard: str) -> Iterator[OpenPage]:
    """Open pages, each in a profile of its own. An error in one fails the test."""
    errors: list[str] = []
    with contextlib.ExitStack() as stack:

        def opened(path: str, width: int = 1280, **options: Any) -> Any:
            context = browser.new_context(viewport={"width": width, "height": 900}, **options)
            stack.callback(context.close)
            context.set_default_timeout(PATIENCE * 1000)
            page = context.new_page()
            page.on("pageerror", lambda error: errors.append(f"{path}: {error}"))
            page.on("dialog", lambda dialog: errors.append(f"{path}: dialog {dialog.message}"))
            page.goto(dashboard + path)
            page.wait_for_selector("h1")
            return page

        yield opened
    assert errors == []


@pytest.fixture(scope="session")
def axe(node_environment: dict[str, str]) -> str:
    """The source of axe-core."""
    source = HERE / "node_modules" / "axe-core" / "axe.min.js"
    if not source.exists():
        done = subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund"],
            cwd=HERE, env=node_environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            lacking(f"npm ci failed: {done.stderr[-500:]}")
    return source.read_text("utf-8")


@pytest.fixture
def picture() -> Callable[[Any, str], None]:
    """Keep a picture of a page for the docs, if DISCO_SCREENSHOTS names a folder for them."""

    def keep(page: Any, name: str) -> None:
        if folder := os.environ.get("DISCO_SCREENSHOTS"):
            size = page.evaluate("({ width: innerWidth, height: document.documentElement.scrollHeight })")
            clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], TALLEST)}
            page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True, clip=clip)

    return keep
