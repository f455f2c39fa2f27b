"""What a terminal gets that a pipe does not, and what every command has: examples, and JSON for programs."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from disco.cli import COMMANDS, main
from disco.cli.join import _shown
from disco.cli.taking_part import Lesson
from tests.conftest import TINY

ROOT = Path(__file__).parents[2]
ESCAPE = "\x1b["


def every_command(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            if isinstance(command, click.Group):
                yield from every_command(command, (*path, name))
            else:
                yield (*path, name)


ALL = list(every_command())


def help_of(*command: str) -> str:
    asked = CliRunner().invoke(main, [*command, "--help"])
    assert asked.exit_code == 0
    return asked.stdout


@pytest.mark.parametrize("command", [(), *ALL], ids=" ".join)
def test_help_is_free_of_marks_for_the_one_who_formats_it(command: Sequence[str]) -> None:
    assert re.search(r"\\b|\x08|: *-- *:", help_of(*command)) is None


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name: str) -> None:
    assert re.search(
        rf"^ +.*\bdisco {name}\b", help_of(name).partition("Options:")[0].partition("\n\n")[2], re.MULTILINE
    )


@pytest.mark.parametrize("command", [command for command in ALL if command != ("completion",)], ids=" ".join)
def test_every_command_speaks_json(command: Sequence[str]) -> None:
    assert "--json" in help_of(*command)


def test_the_list_of_commands_has_whole_sentences() -> None:
    assert "..." not in help_of().partition("Commands:")[2]


def on_a_terminal(*command: str) -> str:
    """What a program writes when its output is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, cwd=ROOT, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm-256color"}
    ) as process:
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 65536):
                said += piece
        except OSError:  # how Linux says that nobody writes to a terminal any more
            pass
        finally:
            os.close(ours)
        process.wait(30)
    return said.decode()


def test_colours_are_for_terminals_only() -> None:
    command = (sys.executable, "-m", "disco", "tasks", "list", "--folder", str(TINY))
    piped = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert ESCAPE not in piped
    assert "\t" in piped
    assert ESCAPE in on_a_terminal(*command)


def test_a_terminal_sees_how_many_rounds_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    with _shown(3, hidden=False) as (say, finished):
        say("round 0 (1 of 3): training")
        finished(Lesson(0, {"loss": 0.5}, {"loss": 0.25}, participants=2, seconds=1.0))
    assert "1/3" in terminal.getvalue()
    assert "round 0   mine loss 0.500   shared loss 0.250   2 present" in terminal.getvalue()


def test_a_server_tells_programs_its_address_and_tasks_as_json(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "disco", "serve", "--port", "0", "--json", "--log-level", "error"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "DISCO_DATA_DIR": str(tmp_path / "data"), "DISCO_TASKS_DIR": str(TINY)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        process.terminate()
    told = json.loads("".join(lines))
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", told["address"])
    assert [task["id"] for task in told["tasks"]] == ["tiny"]
