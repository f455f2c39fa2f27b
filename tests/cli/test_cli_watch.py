from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner, Result
from rich.console import Console

from disco.cli import main
from disco.cli.watch import Glance, Watched, picture
from disco.errors import Refused
from tests.conftest import Server, ServerFactory
from tests.dashboard.asking import contribute, decentralized_tiny, watching
from tests.web.clients import peer, v4

GLANCE = Glance(
    "tiny", "Tiny", "federated", round=3, participants=2, contributions=1, ready=0, minimum=2,
    present=("12acce9f", "3f6f433f"), done=("3f6f433f",),
)  # fmt: skip


async def watch(server: Server, *arguments: str) -> Result:
    command = ["watch", *arguments, "--server", server.url]
    return await trio.to_thread.run_sync(partial(CliRunner().invoke, main, command))


async def test_one_look_is_a_table(server: Server) -> None:
    looked = await watch(server, "--once")
    assert [line.split("\t") for line in looked.stdout.splitlines()] == [
        ["task", "title", "scheme", "round", "participants", "minimum", "now"],
        ["tiny", "Tiny", "federated", "0", "0", "2", "nobody is here"],
    ]


async def test_participants_are_counted(server: Server) -> None:
    async with v4(server.ws):
        looked = await watch(server, "tiny", "--once", "--json")
    assert [glance["participants"] for glance in json.loads(looked.stdout)] == [1]


async def test_who_is_here_and_who_has_contributed_is_named(server: Server) -> None:
    async with v4(server.ws) as first, v4(server.ws):
        await contribute(first, 1.0, 0)
        async with watching(server, "/tasks/tiny/events") as events:
            await events.until(lambda state: state["contributors"])
        looked = await watch(server, "tiny", "--once", "--json")
    [glance] = json.loads(looked.stdout)
    assert len(set(glance["present"])) == 2
    assert set(glance["done"]) < set(glance["present"])


async def test_peers_are_counted_with_who_of_them_is_ready(start: ServerFactory, tmp_path: Path) -> None:
    async with (
        start(tasks_dir=decentralized_tiny(tmp_path)) as server,
        peer(server.ws) as first,
        peer(server.ws),
    ):
        await first.say(type="PeerIsReady")
        async with watching(server, "/tasks/tiny/events") as events:
            await events.until(lambda state: state["readyPeers"] == 1)
        looked = await watch(server, "tiny", "--once", "--json")
    [glance] = json.loads(looked.stdout)
    assert (glance["scheme"], glance["participants"], glance["ready"]) == ("decentralized", 2, 1)
    assert len(glance["present"]) == 2
    assert set(glance["done"]) < set(glance["present"])


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
        ({"scheme": "decentralized", "contributions": 0, "ready": 1}, "round 3: 1 of 2 are ready"),
        (
            {"state": "paused", "reason": "an admin has paused the task"},
            "paused: an admin has paused the task",
        ),
    ],
)
def test_what_goes_on_is_said_in_words(changes: dict[str, Any], words: str) -> None:
    assert replace(GLANCE, **changes).doing == words


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


def test_the_picture_of_one_task_names_who_is_here() -> None:
    watched = Watched()
    watched.take({"tiny": GLANCE})
    out = StringIO()
    Console(file=out, width=80).print(picture(watched, "http://127.0.0.1:8080"))
    assert "12acce9f  3f6f433f ✓" in out.getvalue()


@pytest.mark.parametrize("document", [None, [], {}, {"state": {}, "trainingInformation": {}}])
def test_what_is_no_task_is_refused(document: object) -> None:
    with pytest.raises(Refused):
        Glance.of(document)  # type: ignore[arg-type]
