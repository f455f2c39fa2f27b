"""Commands that talk to a server which needs a token, or which signed its own certificate."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import pytest
import trio
from click.testing import CliRunner, Result

from disco.cli import main
from disco.cli.completion import complete_task
from disco.cli.join import join
from disco.core.access import Role
from disco.participant import Participant
from disco.settings import Access, bundled_tasks
from tests.access.certificates import self_signed
from tests.access.http import token_for
from tests.cli.test_cli_join import rows
from tests.conftest import Server, ServerFactory

SECRET = "disco_0a1b2c3d_" + "S" * 43
TITANIC = str(bundled_tasks() / "titanic")


@pytest.fixture
async def guarded(start: ServerFactory) -> AsyncIterator[Server]:
    """A server on which everything needs a token."""
    async with start(access=Access(join="token", read="token", manage="token")) as server:
        yield server


async def disco(server: Server, *arguments: str, environment: Mapping[str, str] | None = None) -> Result:
    invoke = partial(CliRunner().invoke, main, [*arguments, "--server", server.url], env=environment)
    return await trio.to_thread.run_sync(invoke)


#: Each command that talks to a server, with what makes it do so; `disco join` has tests of its own.
TALKS = {
    "tasks list": ("tasks", "list"),
    "tasks show": ("tasks", "show", "tiny"),
    "tasks add": ("tasks", "add", TITANIC),
    "watch": ("watch", "--once"),
    "doctor": ("doctor", "--port", "0"),
}


@pytest.mark.parametrize("arguments", TALKS.values(), ids=list(TALKS))
async def test_the_environment_may_hold_a_token(
    guarded: Server, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    environment = {"DISCO_DATA_DIR": str(tmp_path / "mine")}
    shown = {**environment, "DISCO_TOKEN": token_for(guarded.settings, Role.ADMIN)}
    assert (await disco(guarded, *arguments, environment=environment)).exit_code == 1
    done = await disco(guarded, *arguments, environment=shown)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("arguments", TALKS.values(), ids=list(TALKS))
async def test_a_file_may_hold_a_token_and_wins_over_the_environment(
    guarded: Server, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    path = tmp_path / "token"
    path.write_text(token_for(guarded.settings, Role.ADMIN) + "\n")
    environment = {"DISCO_TOKEN": SECRET, "DISCO_DATA_DIR": str(tmp_path / "mine")}
    done = await disco(guarded, *arguments, "--token-file", str(path), environment=environment)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("arguments", TALKS.values(), ids=list(TALKS))
async def test_a_wrong_token_is_one_sentence_without_it(
    guarded: Server, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    environment = {"DISCO_TOKEN": SECRET, "DISCO_DATA_DIR": str(tmp_path / "mine")}
    done = await disco(guarded, *arguments, environment=environment)
    assert done.exit_code == 1
    assert "this token is not valid here, or not any more" in done.output
    assert SECRET not in done.output


async def test_without_a_token_it_is_told_where_one_goes(guarded: Server) -> None:
    done = await disco(guarded, "tasks", "list")
    assert "needs a token here" in done.stderr
    assert done.stderr.endswith("give it in DISCO_TOKEN or with --token-file\n")


async def test_a_token_that_is_not_enough_is_told_from_a_wrong_one(guarded: Server) -> None:
    viewer = {"DISCO_TOKEN": token_for(guarded.settings, Role.VIEWER)}
    done = await disco(guarded, "tasks", "add", TITANIC, environment=viewer)
    assert done.exit_code == 1
    assert "of a viewer, may not add tasks" in done.stderr


async def test_joining_with_a_token_trains(guarded: Server, tmp_path: Path) -> None:
    token = token_for(guarded.settings, Role.PARTICIPANT)
    arguments = ("join", "tiny", "--data", str(rows(tmp_path / "rows.csv", 0)), "--rounds", "1", "--json")

    async def partner(task_status: trio.TaskStatus[None]) -> None:
        async with Participant(guarded.url, "tiny", token=token) as participant:
            task_status.started()
            await participant.exchange(participant.weights)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(partner)
            joined = await disco(guarded, *arguments, environment={"DISCO_TOKEN": token})
    assert joined.exit_code == 0, joined.output
    assert len(json.loads(joined.stdout)["rounds"]) == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\xff\xfe", "holds no token"),
        (b"two words", "token must be one word"),
    ],
)
def test_a_file_that_holds_no_token_is_one_sentence(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    done = CliRunner().invoke(main, ["watch", "--once", "--token-file", str(path)])
    assert done.exit_code == 2
    assert sentence in done.stderr


async def test_tasks_are_completed_with_a_token(guarded: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    context = click.Context(join)
    context.params["server"] = guarded.url
    offer = partial(complete_task, context, join.params[0], "ti")
    assert await trio.to_thread.run_sync(offer) == []
    monkeypatch.setenv("DISCO_TOKEN", token_for(guarded.settings, Role.VIEWER))
    assert [item.value for item in await trio.to_thread.run_sync(offer)] == ["tiny"]


@pytest.mark.parametrize("arguments", TALKS.values(), ids=list(TALKS))
async def test_a_server_that_signed_its_own_certificate_is_believed_when_it_is_named(
    start: ServerFactory, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    tls = self_signed(tmp_path)
    environment = {"DISCO_DATA_DIR": str(tmp_path / "mine")}
    async with start(tls=tls) as server:
        doubted = await disco(server, *arguments, environment=environment)
        assert doubted.exit_code == 1
        assert "not trusted here" in doubted.output
        named = await disco(server, *arguments, "--ca", str(tls.certfile), environment=environment)
        assert named.exit_code == 0, named.output


@pytest.mark.parametrize("arguments", TALKS.values(), ids=list(TALKS))
async def test_a_server_that_wants_a_certificate_is_shown_one(
    start: ServerFactory, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    tls = self_signed(tmp_path)
    environment = {"DISCO_DATA_DIR": str(tmp_path / "mine"), "DISCO_CA": str(tls.certfile)}
    async with start(tls=replace(tls, ca_certs=tls.certfile)) as server:
        unknown = await disco(server, *arguments, environment=environment)
        assert unknown.exit_code == 1
        assert "lets nobody in without a certificate" in unknown.output
        mine = ("--cert", str(tls.certfile), "--key", str(tls.keyfile))
        shown = await disco(server, *arguments, *mine, environment=environment)
        assert shown.exit_code == 0, shown.output


def test_no_command_takes_a_token_as_an_argument() -> None:
    def options(command: click.Command) -> set[str]:
        if isinstance(command, click.Group):
            context = click.Context(command)
            names = command.list_commands(context)
            return set().union(*(options(command.get_command(context, name)) for name in names))  # type: ignore[arg-type]
        return {option for parameter in command.params for option in parameter.opts}

    found = options(main)
    assert {"--server", "--token-file"} <= found
    assert "--token" not in found
