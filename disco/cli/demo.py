"""``disco demo``: watch participants learn together on real data."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from disco.cli.rounds import json_option
from disco.errors import DiscoError, SettingsError

if TYPE_CHECKING:
    from disco.demo.session import News, Outcome, Plan

NAMES = ("breast_cancer", "digits")
#: What a demonstration needs beside the server: modules, by the packages that hold them.
NEEDED = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}


@click.command(short_help="Watch participants learn together on real data.")
@click.argument("subject", type=click.Choice(NAMES))
@click.option("--participants", type=click.IntRange(2, 16), default=3, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 1000), help="[default: the subject's own]")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of how the data is cut.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the server's rounds there, and go on from them.  [default: a temporary directory]",
)
@click.option("--png", type=click.Path(path_type=Path), help="[default: ./disco-demo-SUBJECT.png]")
@json_option
def demo(
    subject: str,
    participants: int,
    rounds: int | None,
    seed: int,
    *,
    data_dir: Path | None,
    png: Path | None,
    as_json: bool,
) -> None:
    """Train a task between participants in processes of their own, each with its own part of real data.

    \b
    disco demo breast_cancer    federated: three participants and the server
    disco demo digits           decentralized: three peers, connected to each other over WebRTC

    Each round shows the accuracy of the shared model on data that nobody trained on, beside what each participant
    would have reached alone. The exit code is 0 if the shared model beats the best of them, or reaches 94 %.
    """  # noqa: D301  # \b is click's mark for lines that it must not join
    missing = [package for module, package in NEEDED.items() if find_spec(module) is None]
    if missing:
        raise SettingsError(f"the demo needs {' and '.join(missing)}: pip install 'disco-server[demo]'")
    from disco.demo.picture import draw
    from disco.demo.session import Plan
    from disco.demo.subjects import SUBJECTS

    chosen = SUBJECTS[subject]
    plan = Plan(chosen, participants, rounds or chosen.rounds, seed, data_dir)
    picture = png or Path(f"disco-demo-{subject}.png")
    logging.basicConfig(level=logging.WARNING)
    console = Console(quiet=as_json, highlight=False)
    outcome = _watch(plan, console)
    draw(outcome, f"{subject}: {participants} participants, {chosen.scheme}", picture)
    if as_json:
        click.echo(json.dumps(_figures(outcome)))
    else:
        _report(outcome, console)
        console.print(f"picture  {picture.resolve()}", soft_wrap=True)
    if not outcome.succeeded:
        raise click.exceptions.Exit(1)


def _watch(plan: Plan, console: Console) -> Outcome:
    """Run the demonstration under progress bars; without a terminal, a line for each round instead."""
    from disco.demo.session import demonstrate

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
    )
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        bars = [
            progress.add_task(f"participant {index + 1}", total=plan.rounds, said="joining")
            for index in range(plan.participants)
        ]

        def watch(index: int, news: News) -> None:
            if news["event"] == "joined":
                progress.update(bars[index], said=f"{news['examples']} examples")
            elif news["event"] == "round":
                said = f"together {news['together']:.1%}, alone {news['alone']:.1%}"
                progress.update(bars[index], advance=1, said=said)
                if not console.is_terminal:
                    console.print(f"round {news['round']:>3}  participant {index + 1}  {said}")

        return _unwrapped(lambda: trio.run(demonstrate, plan, watch))


def _unwrapped(run: Callable[[], Outcome]) -> Outcome:
    """Raise Disco's own error out of the nurseries' groups."""
    try:
        return run()
    except BaseExceptionGroup as group:
        ours = group.subgroup(DiscoError)
        while isinstance(ours, BaseExceptionGroup):
            ours = ours.exceptions[0]  # type: ignore[assignment]  # a group's members are groups or errors
        raise (ours or group) from None


def _report(outcome: Outcome, console: Console) -> None:
    table = Table("", "examples", "alone", "together", box=None, header_style="bold", pad_edge=False)
    for index, course in enumerate(outcome.courses):
        table.add_row(
            f"participant {index + 1}",
            str(course.examples),
            f"{course.alone[-1]:.1%}",
            f"{course.together[-1]:.1%}",
        )
    console.print()
    console.print(table)
    verdict = "beats" if outcome.together > outcome.best_alone else "does not beat"
    console.print(
        f"\nThe shared model reaches {outcome.together:.1%} and {verdict} the best alone, {outcome.best_alone:.1%}."
    )


def _figures(outcome: Outcome) -> dict[str, object]:
    return {
        "together": outcome.together,
        "best_alone": outcome.best_alone,
        "succeeded": outcome.succeeded,
        "participants": [
            {"examples": course.examples, "together": course.together, "alone": course.alone}
            for course in outcome.courses
        ],
    }
