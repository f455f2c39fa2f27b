from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from io import StringIO

import pytest
import trio
from click.testing import CliRunner, Result
from rich.console import Console

from disco.cli import main
from disco.cli.watch import Glance, Watched, picture
from disco.errors import Refused
from tests.conftest import Server
from tests.web.clients import v4

GLANCE = Glance("tiny", "Tiny", "federated", round=3, participants=2, contributions=1, minimum=2)


async def watch(server: Server, *arguments: str) -> Result:
    command = ["watch", *arguments, "--server", server.url]
    return await trio.to_thread.run_sync(partial(CliRunner().invoke, main, command))


async def test_one_look_is_a_table(server: Server) -> None:
    looked = await watch(server, "--once")
    assert [line.split("\t") for line in looked.stdout.splitlines()] == [
        ["task", "title", "scheme", "round", "participants", "contributions", "minimum"],
        ["tiny", "Tiny", "federated", "0", "0", "0", "2"],
    ]


async def test_participants_are_counted(server: Server) -> None:
    async with v4(server.ws):
        looked = await watch(server, "tiny", "--once", "--json")
    assert [glance["participants"] for glance in json.loads(looked.stdout)] == [1]


async def test_an_unknown_task_is_told(server: Server) -> None:
    looked = await watch(server, "nobody", "--once")
    assert looked.exit_code == 1
    assert "there is no task 'nobody'" in looked.stderr


def test_a_server_that_is_not_there_is_told() -> None:
    looked = CliRunner().invoke(main, ["watch", "--server", "http://127.0.0.1:1"])
    assert looked.exit_code == 1
    assert "start one with `disco serve`" in looked.stderr


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"participants": 0}, "nobody is here"),
        ({"participants": 1}, "waits for 1 more"),
        ({"contributions": 0}, "round 3: training"),
        ({}, "round 3: 1 of 2 have contributed"),
    ],
)
def test_what_goes_on_is_said_in_words(changes: dict[str, int], words: str) -> None:
    assert replace(GLANCE, **changes).doing == words  # type: ignore[arg-type]  # all of them are counts


def test_only_what_changed_is_new() -> None:
    watched = Watched()
    assert watched.take({"tiny": GLANCE}) == [GLANCE]
    assert watched.take({"tiny": GLANCE}) == []


def test_the_time_of_a_round_is_when_it_was_first_seen() -> None:
    clock = iter([100.0, 107.0])
    watched = Watched(now=lambda: next(clock))
    watched.take({"tiny": GLANCE})
    assert watched.since("tiny") == ""
    watched.take({"tiny": replace(GLANCE, round=4)})
    assert watched.since("tiny") == "7 s ago"


def test_the_picture_fits_80_columns_and_cannot_steer_the_terminal() -> None:
    watched = Watched()
    watched.take({"a\x1b[2Jb": replace(GLANCE, task="a\x1b[2Jb")})
    out = StringIO()
    Console(file=out, width=80).print(picture(watched, "http://127.0.0.1:8080", "the server is gone"))
    assert "\x1b" not in out.getvalue()
    assert "round 3: 1 of 2 have contributed" in out.getvalue()
    assert "the server is gone" in out.getvalue()


@pytest.mark.parametrize("document", [None, [], {}, {"state": {}, "trainingInformation": {}}])
def test_what_is_no_task_is_refused(document: object) -> None:
    with pytest.raises(Refused):
        Glance.of(document)  # type: ignore[arg-type]
