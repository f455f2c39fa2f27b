"""The command line: ``disco`` and ``disco-server``."""

from __future__ import annotations

import importlib

import click

from disco.errors import DiscoError, SettingsError
from disco.web.answers import disco_version

#: Command name → where it is. Imported when used, so that ``disco --help`` is quick and needs no extras.
COMMANDS = {
    "serve": "disco.cli.serve:serve",
    "tasks": "disco.cli.tasks:tasks",
    "rounds": "disco.cli.rounds:rounds",
    "export": "disco.cli.rounds:export",
    "backup": "disco.cli.backup:backup",
    "tokens": "disco.cli.tokens:tokens",
    "demo": "disco.cli.demo:demo",
    "join": "disco.cli.join:join",
    "watch": "disco.cli.watch:watch",
    "doctor": "disco.cli.doctor:doctor",
    "completion": "disco.cli.completion:completion",
}


class Misconfigured(click.ClickException):
    """A setting that cannot be used."""

    exit_code = 2


class Commands(click.Group):
    """Finds commands when they are used, and turns Disco's errors into one sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; a setting that cannot be used exits with 2, any other error of Disco's with 1."""
        try:
            return super().invoke(ctx)
        except DiscoError as error:
            refusal = Misconfigured if isinstance(error, SettingsError) else click.ClickException
            raise refusal(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(disco_version(), "-V", "--version", prog_name="disco")
def main() -> None:
    """Disco: train one model together, without sharing data.

    \b
    disco serve                     start the server with the default tasks
    disco demo breast_cancer        watch three participants train on real data
    disco tasks list                what a running server offers
    """  # noqa: D301  # \b is click's mark for lines that it must not join
