"""The pages of the documentation, their code blocks, and a place to run them in.

A block's marks stand behind its language:

    ```python file=clinics.py     written to that file
    ```python exec                run; so is ```sh exec
    ```sh exec=background         started, and stopped at the end of the page; goes on once a server answers
    ```python exec=thrice         run by three readers at once
    ```python run=FOLDER          run in that folder
    ```sh needs=docker            not run, as it needs what a test does not have; of a program, run where that is
    ```sh test=tests/x.py         run by that test
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PATIENCE = 120.0
#: The address that readers are given.
ADDRESS = "127.0.0.1:8080"

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?P<marks>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One code block: its language, its marks (a mark without a value has an empty one), its text and its line."""

    language: str
    marks: dict[str, str]
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        marks = dict(mark.partition("=")[::2] for mark in fence["marks"].split())
        line = text.count("\n", 0, fence.start()) + 1
        found.append(Block(fence["language"], marks, fence["text"], line))
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Workplace:
    """A folder in which a page's blocks are run, as a reader would who begins in an empty one."""

    folder: Path
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        programs = self.folder / ".bin"
        programs.mkdir()
        for name, words in {"python": "", "disco": "-m disco"}.items():
            script = programs / name
            script.write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
            script.chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DISCO_")},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "DISCO_PORT": str(self.port),
            "DISCO_SERVER": f"http://127.0.0.1:{self.port}",
            "DISCO_LOG_LEVEL": "warning",
        }

    def run(self, block: Block, readers: int = 1) -> None:
        """Run a block to its end, by so many readers at once; what one said is in the error when it fails."""
        with ExitStack() as started:
            processes = [
                started.enter_context(
                    subprocess.Popen(
                        self._command(block), cwd=self.folder / block.marks.get("run", ""), env=self.environment,
                        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    )
                )
                for _ in range(readers)
            ]  # fmt: skip
            for process in processes:
                started.callback(process.kill)
            for process in processes:
                said, _ = process.communicate(timeout=PATIENCE)
                assert process.returncode == 0, f"the block in line {block.line} fails:\n{said[-3000:]}"

    @contextmanager
    def background(self, block: Block) -> Iterator[None]:
        """Run a block that starts a server."""
        with subprocess.Popen(
            self._command(block), cwd=self.folder, env=self.environment, start_new_session=True,
            stdout=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            try:
                self._wait_for_server(process)
                yield
            finally:
                with suppress(ProcessLookupError):  # it may have ended by itself, which is told elsewhere
                    os.killpg(process.pid, signal.SIGTERM)

    def _command(self, block: Block) -> list[str]:
        text = block.text.replace(ADDRESS, f"127.0.0.1:{self.port}")
        return ["bash", "-ec", text] if block.language == "sh" else [sys.executable, "-c", text]

    def _wait_for_server(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert process.poll() is None, "the server ended at once"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=1).close()
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        raise AssertionError("the server does not answer")


def run_page(page: Path, folder: Path) -> int:
    """Do what a page says, from top to bottom; returns how many blocks were run."""
    workplace, count = Workplace(folder), 0
    with ExitStack() as started:
        for block in blocks(page):
            if (name := block.marks.get("file")) is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(block.text, "utf-8")
            if not is_run(block):
                continue
            count += 1
            if block.marks.get("exec") == "background":
                started.enter_context(workplace.background(block))
            else:
                workplace.run(block, readers=3 if block.marks.get("exec") == "thrice" else 1)
    return count


def is_run(block: Block) -> bool:
    """Whether a block is run here: one that needs a program, only where that is."""
    needed = block.marks.get("needs")
    return ("exec" in block.marks or "run" in block.marks) and (needed is None or which(needed) is not None)
