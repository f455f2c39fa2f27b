"""``disco doctor``: is this deployment in order, and what to change if not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from disco.cli.findings import Finding, Health, all_well
from disco.cli.machine_checks import check_machine
from disco.cli.remote import Shown, credential_options, locate
from disco.cli.rounds import json_option
from disco.cli.server_checks import check_server
from disco.cli.table import print_json, printable
from disco.settings import Settings

MARKS = {Health.OK: ("ok", "green"), Health.WARNING: ("warning", "yellow"), Health.WRONG: ("wrong", "red")}


@click.command(short_help="Check a deployment, and say what to change.")
@click.option(
    "--server",
    metavar="URL",
    envvar="DISCO_SERVER",
    help="Also look at a running server from here, through its proxy.",
)
@credential_options
@click.option("--host", help="As for `disco serve`.  [default: 127.0.0.1]")
@click.option("--port", help="As for `disco serve`.  [default: 8080]")
@click.option("--data-dir", help="As for `disco serve`.  [default: ./disco-data]")
@click.option("--tasks-dir", help="As for `disco serve`.  [default: the tasks that come with Disco]")
@click.option("--config", type=click.Path(path_type=Path), help="A TOML file with settings.")
@json_option
def doctor(
    server: str | None,
    shown: Shown,
    config: Path | None,
    as_json: bool,
    **flags: str | None,
) -> None:
    """Check this machine, and the way to a running server, and say what to change.

    The settings looked at are those that `disco serve` would use: flags, DISCO_… and a file. Exits with 1 if something
    is wrong; a warning is not.

    \b
    disco doctor
    disco doctor --config /etc/disco.toml
    disco doctor --server https://disco.example.org
    """  # noqa: D301  # \b is click's mark for lines that it must not join
    settings = Settings.load(flags, config=config)
    address = None if server is None else locate(server, shown)
    findings = []
    for finding in (*check_machine(settings), *(check_server(address) if address is not None else ())):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        print_json({"ok": all_well(findings), "findings": [dataclasses.asdict(found) for found in findings]})
    if not all_well(findings):
        raise click.exceptions.Exit(1)


def _print(finding: Finding) -> None:
    """Print one line, and what to do on the next. Click leaves the colours out where no terminal is."""
    word, colour = MARKS[finding.health]
    click.echo(f"{click.style(f'{word:<8}', fg=colour)} {finding.check:<15} {printable(finding.detail)}")
    if finding.advice:
        click.echo(f"{'':<24} → {finding.advice}")
