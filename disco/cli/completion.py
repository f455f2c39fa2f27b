"""``disco completion``: what makes a shell complete Disco's commands, options and task IDs."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from disco.cli.remote import SERVER, Shown, locate
from disco.errors import SettingsError
from disco.participant.http import ask

SHELLS = ("bash", "zsh", "fish")
#: The variable through which click's scripts ask the program for completions.
VARIABLE = "_DISCO_COMPLETE"
#: A shell that waits for a server feels broken.
PATIENCE_SECONDS = 0.5


@click.command(short_help="Print what makes your shell complete.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options and task IDs.

    \b
    bash   eval "$(disco completion bash)"                                in ~/.bashrc
    zsh    eval "$(disco completion zsh)"                                 in ~/.zshrc
    fish   disco completion fish > ~/.config/fish/completions/disco.fish
    """  # noqa: D301  # \b is click's mark for lines that it must not join
    script = get_completion_class(shell)
    if script is None:
        raise click.ClickException(f"this click knows no completion for {shell}")
    click.echo(script(ctx.find_root().command, {}, "disco", VARIABLE).source())


def complete_task(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the IDs of the tasks of the server that the command names; nothing when it does not answer at once."""
    try:
        server = locate(ctx.params.get("server") or SERVER, Shown.taken_from(dict(ctx.params)))
        request = ask(server.http("tasks"), server.credentials)
        context = server.credentials.context() if server.secure else None
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS, context=context) as answer:
            documents: Any = json.load(answer)
        offered = [(str(task["id"]), str(task["displayInformation"]["title"])) for task in documents]
    except (SettingsError, OSError, ValueError, KeyError, TypeError):
        return []
    return [CompletionItem(task, help=title) for task, title in offered if task.startswith(begun)]
