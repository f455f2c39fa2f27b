"""Tables on a terminal, tab-separated lines in a pipe, JSON when asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their columns' names. Numbers stand right."""
    if not sys.stdout.isatty():
        for row in [columns, *rows]:
            click.echo("\t".join(map(printable, row)))
        return
    table = Table()
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(table)


def print_json(value: object) -> None:
    """Print a JSON document, indented."""
    click.echo(json.dumps(value, indent=2))


def printable(value: object) -> str:
    """Return a value's text on one line, without what would steer a terminal: titles come from strangers."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
