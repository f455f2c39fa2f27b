from __future__ import annotations

import shutil
import subprocess
from functools import partial

import click
import pytest
import trio
from click.testing import CliRunner

from disco.cli import main
from disco.cli.completion import SHELLS, complete_task
from disco.cli.join import join
from tests.conftest import Server


def complete(words: str, position: int) -> list[str]:
    variables = {"_DISCO_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(position)}
    asked = CliRunner().invoke(main, [], prog_name="disco", complete_var="_DISCO_COMPLETE", env=variables)
    return [line.partition(",")[2] for line in asked.stdout.splitlines()]


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script_that_it_can_read(shell: str) -> None:
    script = CliRunner().invoke(main, ["completion", shell])
    assert script.exit_code == 0
    assert "_DISCO_COMPLETE" in script.stdout
    if (program := shutil.which(shell)) is not None:
        subprocess.run([program, "-n"], input=script.stdout, text=True, check=True)


def test_commands_are_completed() -> None:
    assert complete("disco do", 1) == ["doctor"]


def test_options_are_completed() -> None:
    assert complete("disco watch --on", 2) == ["--once"]


async def test_tasks_of_the_running_server_are_completed(server: Server) -> None:
    context = click.Context(join)
    context.params["server"] = server.url
    offer = partial(complete_task, context, join.params[0], "ti")
    assert [item.value for item in await trio.to_thread.run_sync(offer)] == ["tiny"]


def test_without_a_server_nothing_is_offered_and_nothing_fails() -> None:
    context = click.Context(join)
    context.params["server"] = "http://127.0.0.1:1"
    assert complete_task(context, join.params[0], "") == []
