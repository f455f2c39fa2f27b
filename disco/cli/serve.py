"""``disco serve``: the server."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import trio
from rich.console import Console
from rich.table import Table

from disco.app import Disco
from disco.cli.hosting import running
from disco.cli.rounds import json_option
from disco.cli.table import print_json
from disco.errors import DiscoError
from disco.settings import LOG_LEVELS, MIB, Settings
from disco.storage.catalogue import TaskProvider, import_provider

log = logging.getLogger("disco")

#: Flags that are short for settings of a section.
SECTIONS = {
    "aggregation_interval": "aggregation.interval",
    "certfile": "tls.certfile",
    "keyfile": "tls.keyfile",
    "ca_certs": "tls.ca_certs",
}


@click.command(
    epilog="Every option is also an environment variable: --data-dir is DISCO_DATA_DIR, and so on."
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", help="TCP port; 0 picks a free one and prints it.  [default: 8080]")
@click.option(
    "--ephemeral",
    is_flag=True,
    help="Keep tasks and rounds in memory only; they are gone when the server stops.",
)
@click.option("--data-dir", help="Where tasks, rounds and models are kept.  [default: ./disco-data]")
@click.option(
    "--tasks-dir", help="A folder of task folders to serve.  [default: the tasks that come with Disco]"
)
@click.option("--log-level", help=f"One of {', '.join(LOG_LEVELS)}.  [default: info]")
@click.option(
    "--aggregation-interval", help="Seconds after which a round closes with what it has.  [default: 30]"
)
@click.option(
    "--open", "anybody", is_flag=True, help="Let whoever reaches the server add, change and remove tasks."
)
@click.option("--certfile", help="The server's certificate with its chain, PEM: serve over TLS.")
@click.option("--keyfile", help="The certificate's private key, PEM.")
@click.option("--ca-certs", help="Authorities of clients' certificates, PEM: then every client needs one.")
@click.option("--config", type=click.Path(path_type=Path), help="A TOML file with settings.")
@click.option("--task", "providers", multiple=True, help="A task provider, package.module:Class; repeatable.")
@json_option
def serve(
    config: Path | None,
    providers: Sequence[str],
    *,
    anybody: bool,
    as_json: bool,
    ephemeral: bool,
    **flags: str | None,
) -> None:
    """Start the server.

    \b
    disco serve                               on http://127.0.0.1:8080/ with the default tasks
    disco serve --port 0 --data-dir /srv/disco
    disco serve --port 0 --json               the address and the tasks as JSON, once it listens
    disco serve --tasks-dir ./my-tasks --task hospital.tasks:Xrays
    disco serve --host 0.0.0.0 --certfile server.pem --keyfile server.key
    """  # noqa: D301  # \b is click's mark for lines that it must not join
    named = {SECTIONS.get(name, name): value for name, value in flags.items()}
    words = {
        "access.manage": "open" if anybody else None,
        "storage.medium": "memory" if ephemeral else None,
    }
    settings = Settings.load({**named, **words}, config=config)
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s %(message)s",
        stream=sys.stderr,
    )
    found = [import_provider(name) for name in providers]
    try:
        trio.run(run, settings, found, print_announcement if as_json else announce)
    except* DiscoError as group:
        raise group.exceptions[0] from None


async def run(
    settings: Settings, providers: Sequence[TaskProvider], tell: Callable[[Disco, str], None]
) -> None:
    """Serve until SIGINT or SIGTERM; `tell` of the app and its address once it listens.

    Raises:
        SettingsError: the address cannot be bound.
        StorageError: the data directory cannot be used.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with running(settings, providers) as (app, url):
            tell(app, url)
            number = await anext(signals)
            log.info("%s: stopping", signal.Signals(number).name)


def announce(app: Disco, url: str) -> None:
    """Print what is served, where its data lives, and the address."""
    console = Console(highlight=False)
    table = Table("ID", "title", "data", "scheme", "round", box=None, header_style="bold", pad_edge=False)
    for entry in app.directory:
        task = entry.task
        table.add_row(task.id, task.title, task.data_type, str(task.scheme), str(entry.served().round))
    console.print(table)
    for name, problem in app.broken:
        console.print(f"[red]not served[/red]  {name}: {problem}", soft_wrap=True)
    in_flight = app.settings.limits.bytes_in_flight / MIB
    durable = app.settings.storage.durable
    place = app.settings.data_dir.resolve() if durable else "in memory, until the server stops"
    console.print(f"\ndata     {place}", soft_wrap=True)
    console.print(f"memory   at most {in_flight:,.0f} MiB of updates in flight (limits.bytes_in_flight)")
    console.print(f"access   {app.gate.describe()}", soft_wrap=True)
    console.print(f"address  {url}/", soft_wrap=True)
    sys.stdout.flush()


def print_announcement(app: Disco, url: str) -> None:
    """Print the same as one JSON document."""
    tasks = [
        {
            "id": entry.task.id,
            "title": entry.task.title,
            "dataType": entry.task.data_type,
            "scheme": str(entry.task.scheme),
            "round": entry.served().round,
        }
        for entry in app.directory
    ]
    print_json(
        {
            "address": f"{url}/",
            "data_dir": str(app.settings.data_dir.resolve()),
            "medium": app.settings.storage.medium,
            "bytes_in_flight": app.settings.limits.bytes_in_flight,
            "access": app.gate.describe(),
            "tasks": tasks,
            "broken": [{"folder": name, "problem": problem} for name, problem in app.broken],
        }
    )
    sys.stdout.flush()
