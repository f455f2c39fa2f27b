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
from disco.core.events import TaskID
from disco.settings import Settings
from disco.storage.contract import RoundRecord
from disco.storage.export import write
from disco.storage.reader import open_reader

data_dir_option: Callable[[Any], Any] = click.option(
    "--data-dir", help="The server's data directory.  [default: DISCO_DATA_DIR, or ./disco-data]"
)
json_option: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.argument("task")
@data_dir_option
@json_option
def rounds(task: str, data_dir: str | None, as_json: bool) -> None:
    """List the rounds on disk of TASK, oldest first.

    \b
    disco rounds titanic
    disco rounds titanic --data-dir /srv/disco --json
    """  # noqa: D301  # \b is click's mark for lines that it must not join
    with closing(open_reader(_data_dir(data_dir))) as reader:
        records = reader.rounds(TaskID(task))
    if as_json:
        print_json([dataclasses.asdict(record) for record in records])
    else:
        _print_rounds(records)


@click.command()
@click.argument("task")
@click.option("--round", "number", type=click.IntRange(min=0), help="Its number.  [default: the latest]")
@click.option(
    "--to", "to", required=True, type=click.Path(path_type=Path), metavar="DIR|FILE", help="Where to."
)
@data_dir_option
@json_option
def export(task: str, number: int | None, to: Path, data_dir: str | None, as_json: bool) -> None:
    """Write a global model of TASK to a directory (TF.js), a .npz or a .safetensors file.

    \b
    disco export titanic --to titanic-model
    disco export titanic --round 10 --to titanic-10.npz
    """  # noqa: D301  # \b is click's mark for lines that it must not join
    with closing(open_reader(_data_dir(data_dir))) as reader:
        chosen = reader.latest_round(TaskID(task)).number if number is None else number
        weights = reader.round_weights(TaskID(task), chosen)
        model = reader.model(TaskID(task))
    files = [str(path) for path in write(weights, model, to)]
    if as_json:
        print_json({"task": task, "round": chosen, "files": files})
    else:
        click.echo(f"Round {chosen} of {task}: {', '.join(files)}")


def _print_rounds(records: Sequence[RoundRecord]) -> None:
    others = sorted({name for record in records for name in record.figures})
    print_table(
        ["round", "closed at", "participants", "contributions", "seconds", *others],
        [
            [
                record.number,
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
