"""``disco backup``: a copy of a data directory, also while a server writes to it."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from disco.cli.rounds import data_dir_option, json_option
from disco.cli.table import print_json
from disco.settings import MIB, Settings
from disco.storage.backup import back_up


@click.command(short_help="Copy a data directory, whole and checked.")
@click.option(
    "--to",
    "to",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to; not there yet.",
)
@data_dir_option
@json_option
def backup(to: Path, data_dir: str | None, as_json: bool) -> None:
    """Copy a data directory, whole and checked, whether or not a server holds it.

    The copy is a data directory: to restore it, move it to where the server's was.

    \b
    disco backup --to backups/2030-01-31
    disco serve --data-dir backups/2030-01-31
    """  # noqa: D301  # \b is click's mark for lines that it must not join
    with Console(stderr=True).status("copying, and comparing with checksums"):
        size = back_up(Settings.load({"data_dir": data_dir}).data_dir, to)
    if as_json:
        print_json({"to": str(to), "bytes": size})
    else:
        click.echo(f"{to}: {size / MIB:.1f} MiB, every model compared with its checksum")
