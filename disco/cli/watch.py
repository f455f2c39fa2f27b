"""``disco watch``: a live view of a server's tasks, rounds and participants."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from disco.cli.completion import complete_task
from disco.cli.remote import get_json, server_options
from disco.cli.rounds import json_option
from disco.cli.table import print_json, print_table, printable
from disco.core.names import Scheme
from disco.errors import ConnectionLost, Refused
from disco.participant.address import Address


@dataclass(frozen=True, slots=True)
class Glance:
    """How one task stands, in its own scheme.

    Args:
        round: the number of the round to come; for peers the highest of any generation.
        participants: present in its session.
        contributions: accepted into the current round so far; 0 in a decentralized task.
        ready: peers that wait for the round to be made; 0 in a federated task.
        minimum: participants that make a round.
        present: short IDs of the participants, as far as the server names them.
        done: of those, who has contributed or is ready.
        state: ``running``, or why not in a word; `reason` has the sentence.
    """

    task: str
    title: str
    scheme: str
    round: int
    participants: int
    contributions: int
    ready: int
    minimum: int
    present: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    state: str = "running"
    reason: str = ""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Glance:
        """Read the JSON of ``GET /tasks/:id``.

        Raises:
            Refused: it is of no Disco server.
        """
        try:
            state, scheme = document["state"], str(document["trainingInformation"]["scheme"])
            counts = _of_peers(state) if scheme == Scheme.DECENTRALIZED else _of_participants(state)
            return cls(
                str(document["id"]),
                str(document["displayInformation"]["title"]),
                scheme,
                **counts,
                state=str(state["state"]),
                reason=str(state["reason"]),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise Refused("the server did not answer with a task; is it a Disco server?") from error

    @property
    def doing(self) -> str:
        """What goes on, in words."""
        if self.state != "running":
            return f"{self.state}: {self.reason}" if self.reason else self.state
        if not self.participants:
            return "nobody is here"
        if self.participants < self.minimum:
            return f"waits for {self.minimum - self.participants} more"
        if self.ready:
            return f"round {self.round}: {self.ready} of {self.participants} are ready"
        if self.contributions:
            return f"round {self.round}: {self.contributions} of {self.participants} have contributed"
        return f"round {self.round}: training"

    @property
    def who(self) -> str:
        """Who is here by short IDs, those that are done with a mark."""
        return "  ".join(f"{name} ✓" if name in self.done else name for name in self.present)


def _of_participants(state: Mapping[str, Any]) -> dict[str, Any]:
    counts = {name: int(state[name]) for name in ("round", "participants", "contributions", "minimum")}
    return {**counts, "ready": 0, "present": tuple(state["present"]), "done": tuple(state["contributors"])}


def _of_peers(state: Mapping[str, Any]) -> dict[str, Any]:
    hubs = state["hubs"]
    return {
        "round": int(state["peerRound"]),
        "participants": int(state["peers"]),
        "contributions": 0,
        "ready": int(state["readyPeers"]),
        "minimum": int(state["peerMinimum"]),
        "present": tuple(name for hub in hubs for name in hub["present"]),
        "done": tuple(name for hub in hubs for name in hub["ready"]),
    }


@dataclass(slots=True)
class Watched:
    """What has been seen of the tasks, and when a round was last seen to close.

    Args:
        now: seconds on any clock that only goes forward.
    """

    now: Callable[[], float] = time.monotonic
    glances: dict[str, Glance] = field(default_factory=dict)
    closed_at: dict[str, float] = field(default_factory=dict)

    def take(self, glances: Mapping[str, Glance]) -> list[Glance]:
        """Remember what is seen now, and return what differs from before."""
        changed = [glance for task, glance in glances.items() if self.glances.get(task) != glance]
        for glance in changed:
            before = self.glances.get(glance.task)
            if before is not None and before.round != glance.round:
                self.closed_at[glance.task] = self.now()
        self.glances = dict(glances)
        return changed

    def since(self, task: str) -> str:
        """Say how long ago a round of a task closed, as far as has been seen."""
        closed = self.closed_at.get(task)
        return "" if closed is None else f"{self.now() - closed:.0f} s ago"


@click.command(short_help="Watch the tasks of a server, live.")
@click.argument("task", required=False, shell_complete=complete_task)
@server_options
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    help="Seconds.",
)
@click.option("--once", is_flag=True, help="Look once, print a table, and end.")
@json_option
def watch(task: str | None, server: Address, interval: float, once: bool, as_json: bool) -> None:
    """Watch the tasks of a server, or one TASK, until Ctrl-C.

    On a terminal this is a table that changes; elsewhere every change is a line, and with --json every change is a JSON
    object on a line of its own.

    \b
    disco watch
    disco watch titanic --server https://disco.example.org
    disco watch --once --json | jq '.[] | select(.participants > 0)'
    """  # noqa: D301  # \b is click's mark for lines that it must not join

    def look() -> dict[str, Glance]:
        return glance_at(server, task)

    if once:
        _print_once(look(), as_json)
        return
    try:
        if as_json or not sys.stdout.isatty():
            _follow(look, interval, as_json)
        else:
            _show(look, interval, str(server))
    except KeyboardInterrupt:
        return


def glance_at(server: Address, task: str | None) -> dict[str, Glance]:
    """Ask a server how its tasks stand, or one of them.

    Raises:
        ConnectionLost: no server answers.
        Refused: it has no such task, or is no Disco server.
    """
    if task is None:
        listed = get_json(server, "tasks")
        if not isinstance(listed, list):
            raise Refused(f"{server} did not answer with a list of tasks; is a Disco server there?")
        names = [str(document.get("id", "")) for document in listed if isinstance(document, dict)]
    else:
        names = [task]
    return {name: Glance.of(get_json(server, f"tasks/{quote(name, safe='')}")) for name in names}


def _print_once(glances: Mapping[str, Glance], as_json: bool) -> None:
    if as_json:
        print_json([dataclasses.asdict(glance) for glance in glances.values()])
        return
    columns = ["task", "title", "scheme", "round", "participants", "minimum", "now"]
    rows = [(*(getattr(glance, name) for name in columns[:-1]), glance.doing) for glance in glances.values()]
    print_table(columns, rows)


def _follow(look: Callable[[], dict[str, Glance]], interval: float, as_json: bool) -> None:
    """Print every change on a line of its own."""
    watched = Watched()
    glances = look()  # an address that is wrong from the start ends the command
    while True:
        for glance in watched.take(glances):
            line = json.dumps(dataclasses.asdict(glance)) if as_json else f"{glance.task}\t{glance.doing}"
            click.echo(printable(line) if as_json else "\t".join(map(printable, line.split("\t"))))
        time.sleep(interval)
        try:
            glances = look()
        except ConnectionLost as error:
            click.echo(str(error), err=True)


def _show(look: Callable[[], dict[str, Glance]], interval: float, server: str) -> None:
    """Draw a table, and draw it again whenever something may have changed."""
    watched = Watched()
    watched.take(look())
    problem = ""
    with Live(console=Console(), auto_refresh=False, transient=False) as live:
        while True:
            live.update(picture(watched, server, problem), refresh=True)
            time.sleep(interval)
            try:
                watched.take(look())
                problem = ""
            except ConnectionLost as error:
                problem = str(error)


def picture(watched: Watched, server: str, problem: str = "") -> RenderableType:
    """Draw the tasks, those that train first, and what is wrong with the connection."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("task", "scheme", "round", "present", "now", "last round"):
        table.add_column(name, justify="right" if name in ("round", "present") else "left", no_wrap=True)
    for glance in sorted(watched.glances.values(), key=lambda glance: (-glance.participants, glance.task)):
        cells = (glance.task, glance.scheme, glance.round, glance.participants, glance.doing)
        style = "" if glance.participants else "dim"
        table.add_row(*(Text(printable(cell)) for cell in (*cells, watched.since(glance.task))), style=style)
    alone = next(iter(watched.glances.values())).who if len(watched.glances) == 1 else ""
    below = Text(printable(problem), style="red") if problem else Text(f"{server} · Ctrl-C ends", style="dim")
    return Group(table, Text(), *([Text(printable(alone)), Text()] if alone else []), below)
