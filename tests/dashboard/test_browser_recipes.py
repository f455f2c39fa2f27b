"""How to join, as a task's page offers it to be copied: each recipe runs as it stands, with a `train` of one's own."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner

from disco.cli import main
from tests.dashboard.conftest import PATIENCE, OpenPage

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
Recipe: TypeAlias = Callable[[str, str], str]


@pytest.fixture
def recipe(open_page: OpenPage) -> Recipe:
    """The text of a task's recipe, by the name of its tab."""

    def read(task: str, name: str) -> str:
        text: str = open_page(f"/tasks/{task}").locator(f"#recipe-{name} code").text_content()
        return text

    return read


@pytest.fixture
def node_packages(interop_kit: Path, tmp_path: Path) -> Path:
    """A folder in which Node finds what the recipe tells its readers to install."""
    kit, ours = interop_kit / "node_modules", tmp_path / "node_modules"
    (ours / "@tensorflow").mkdir(parents=True)
    for name in ("@msgpack", "ws"):
        (ours / name).symlink_to(kit / name)
    (ours / "@tensorflow" / "tfjs").symlink_to(kit / "@tensorflow" / "tfjs-node")  # an alias there
    return tmp_path


Run: TypeAlias = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run() -> Iterator[Run]:
    """Start programs in Disco's folder, and end those that are left when the test is over."""
    with contextlib.ExitStack() as started:

        def begin(*command: str | Path, **options: Any) -> subprocess.Popen[str]:
            process = started.enter_context(
                subprocess.Popen(
                    command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
                )
            )
            started.callback(process.kill)
            return process

        yield begin


def readers(text: str, count: int = 1) -> tuple[str, ...]:
    """The command that runs a Python recipe for so many readers, whose training changes nothing."""
    program = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        f"with ThreadPoolExecutor({count}) as threads:\n"
        f"    ends = [threads.submit(exec, {text!r}, {{'train': lambda it: it}}) for _ in range({count})]\n"
        "[end.result() for end in ends]\n"
    )
    return (sys.executable, "-W", "error", "-c", program)


def require_success(process: subprocess.Popen[str]) -> None:
    """Wait for a process, and require that it did what it should."""
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said[-2000:]


def test_the_recipes_for_python_and_node_train_together(
    recipe: Recipe, run: Run, node_packages: Path, node_environment: dict[str, str]
) -> None:
    script = node_packages / "recipe.mjs"
    script.write_text(recipe("breast_cancer", "Node") + "\nasync function train() {}\n", "utf-8")
    ours, theirs = run(*readers(recipe("breast_cancer", "Python"))), run("node", script, env=node_environment)
    for process in (theirs, ours):
        require_success(process)


def test_the_recipe_for_the_web_trains_on_a_page_of_another_site(
    recipe: Recipe, run: Run, browser: Any
) -> None:
    text = "<script>window.train = async () => {};</script>\n" + recipe("breast_cancer", "Web")
    ours = run(*readers(recipe("breast_cancer", "Python")))
    with another_site(text) as address:
        page = browser.new_page()
        try:
            page.goto(address)
            require_success(ours)
        finally:
            page.close()


def test_the_recipe_for_peers_trains_between_three_of_them(recipe: Recipe, run: Run) -> None:
    text = recipe("digits", "Python").replace("range(10)", "range(1)")
    require_success(run(*readers(text, count=3)))


@pytest.mark.parametrize("task", ["titanic", "digits", "mnist"])
def test_the_recipe_for_the_shell_has_options_that_there_are(recipe: Recipe, task: str) -> None:
    install, join = (shlex.split(line, comments=True) for line in recipe(task, "Shell").splitlines())
    assert install[:2] == ["pip", "install"]
    assert join[0] == "disco"
    assert CliRunner().invoke(main, [*join[1:], "--help"]).exit_code == 0


@contextmanager
def another_site(html: str) -> Iterator[str]:
    """Serve one page from an address that is not Disco's."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
