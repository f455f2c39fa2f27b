"""``disco rounds`` and ``disco export``: what a data directory holds, also while a server writes to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from disco.cli.table import print_json, print_table
from disco.core.evaluation import Progress, plan_of
from disco.core.names import TaskID
from disco.errors import UnknownRound
from disco.settings import Settings
from disco.storage.contract import RoundRecord
from disco.storage.export import write
from disco.storage.reader import SqliteReader, open_reader

data_dir_option: Callable[[Any], Any] = click.option(
    "--data-dir", help="The server's data directory.  [default: DISCO_DATA_DIR, or ./disco-data]"
)
#: What stands for the number of the best round.
BEST = "best"
json_option: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class RoundNumber(click.ParamType[int | str]):
    """The number of a round, or the word best."""

    name = "number|best"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Read it."""
        if value == BEST:
            return BEST
        if isinstance(value, int) or (value.isascii() and value.isdecimal()):
            return int(value)
        return self.fail(f"{value!r} is not the number of a round, or {BEST}", param, ctx)


@click.command(short_help="List the rounds on disk of a task.")
@click.argument("task")
@data_dir_option
@json_option
def rounds(task: str, data_dir: str | None, as_json: bool) -> None:
    """List the rounds on disk of TASK, oldest first; a star is at the best one, if the task keeps one.

    \b
    disco rounds titanic
    disco rounds titanic --data-dir /srv/disco --json
    """  # noqa: D301  # \b is click's mark for lines that it must not join
    with closing(open_reader(_data_dir(data_dir))) as reader:
        records = reader.rounds(TaskID(task))
        best = best_round(reader, task)
    if as_json:
        print_json([{**dataclasses.asdict(record), "best": record.number == best} for record in records])
    else:
        _print_rounds(records, best)


@click.command(short_help="Write a global model to TF.js, .npz or .safetensors.")
@click.argument("task")
@click.option("--round", "number", type=RoundNumber(), help="Its number, or best.  [default: the latest]")
@click.option(
    "--to", "to", required=True, type=click.Path(path_type=Path), metavar="DIR|FILE", help="Where to."
)
@data_dir_option
@json_option
def export(task: str, number: int | str | None, to: Path, data_dir: str | None, as_json: bool) -> None:
    """Write a global model of TASK to a directory (TF.js), a .npz or a .safetensors file.

    \b
    disco export titanic --to titanic-model
    disco export titanic --round 10 --to titanic-10.npz
    disco export titanic --round best --to titanic-best.npz
    """  # noqa: D301  # \b is click's mark for lines that it must not join
    with closing(open_reader(_data_dir(data_dir))) as reader:
        chosen = _chosen(reader, task, number)
        weights = reader.round_weights(TaskID(task), chosen)
        model = reader.model(TaskID(task))
    files = [str(path) for path in write(weights, model, to)]
    if as_json:
        print_json({"task": task, "round": chosen, "files": files})
    else:
        click.echo(f"Round {chosen} of {task}: {', '.join(files)}")


def best_round(reader: SqliteReader, task: str) -> int | None:
    """Return the number of a task's best round by its own figure; None if it keeps none, or has none yet.

    Raises:
        UnknownTask: no task has this ID.
    """
    records, marks = reader.rounds(TaskID(task)), reader.marks(TaskID(task))
    (document,) = (stored.task.document for stored in reader.tasks() if stored.task.id == task)
    progress = Progress(plan_of(document))
    progress.resume(marks, [(record.number, record.figures) for record in records])
    return progress.best


def _chosen(reader: SqliteReader, task: str, number: int | str | None) -> int:
    if number is None:
        return reader.latest_round(TaskID(task)).number
    if isinstance(number, int):
        return number
    if (best := best_round(reader, task)) is None:
        raise UnknownRound(f"the task {task} has no best round: evaluation.keepBest says by which figure")
    return best


def _print_rounds(records: Sequence[RoundRecord], best: int | None) -> None:
    others = sorted({name for record in records for name in record.figures})
    print_table(
        ["round", "closed at", "participants", "contributions", "seconds", *others],
        [
            [
                f"{record.number} *" if record.number == best else record.number,
                _time(record.closed_at),
                record.participants,
                record.contributions,
                record.seconds,
                *(record.figures.get(name, "") for name in others),
            ]
            for record in records
        ],
    )


def _time(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).astimezone().isoformat(" ", "seconds")


def _data_dir(flag: str | None) -> Path:
    return Settings.load({"data_dir": flag}).data_dir
