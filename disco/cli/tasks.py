"""``disco tasks``: the tasks of a running server, or of a folder of task folders."""

from __future__ import annotations

import base64
import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from disco.cli.remote import SERVER, Shown, credential_options, get_json, locate, post_json
from disco.cli.rounds import json_option
from disco.cli.table import print_json, print_table, printable
from disco.core.names import Scheme
from disco.core.submission import Submission
from disco.errors import InvalidTask, Refused, TaskExists, UnknownTask
from disco.learning.held_out import with_held_out
from disco.participant.address import Address
from disco.storage.catalogue import TASK_FILE, FoundTasks, load_folder, load_task
from disco.storage.files import refusals


def place_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say whose tasks are meant; the command gets one `place`: an address, or a folder."""

    @functools.wraps(command)
    def with_place(
        *args: Any,
        server: str | None,
        folder: Path | None,
        shown: Shown,
        **others: Any,
    ) -> None:
        if server is not None and folder is not None:
            raise click.UsageError("--server and --folder exclude each other; give one of them")
        command(
            *args,
            place=folder or locate(server or os.environ.get("DISCO_SERVER", SERVER), shown),
            **others,
        )

    existing = click.Path(path_type=Path, exists=True, file_okay=False)
    server_option = click.option("--server", metavar="URL", help=f"A running server.  [default: {SERVER}]")
    folder_option = click.option(
        "--folder", type=existing, help="A folder of task folders, instead of a server."
    )
    return folder_option(server_option(credential_options(with_place)))


@click.group()
def tasks() -> None:
    """List, show, add and check tasks.

    \b
    disco tasks list                              what a running server offers
    disco tasks list --folder tasks               what a folder holds
    disco tasks check my-task                     is this task folder in order?
    disco tasks add my-task                       add it to the running server
    """  # noqa: D301  # \b is click's mark for lines that it must not join


@tasks.command("list")
@place_options
@json_option
def list_tasks(place: Address | Path, as_json: bool) -> None:
    """List the tasks of a server or a folder."""
    documents = _documents(place)
    if as_json:
        print_json(documents)
        return
    found = [_facts(document) for document in documents]
    columns = ["ID", "title", "data type", "scheme", "minimum"]
    print_table(columns, [[facts[column] for column in columns] for facts in found])


@tasks.command("show")
@click.argument("task_id", metavar="ID")
@place_options
@json_option
def show_task(task_id: str, place: Address | Path, as_json: bool) -> None:
    """Show one task of a server or a folder."""
    if isinstance(place, Address):
        document = get_json(place, f"tasks/{quote(task_id, safe='')}")
    else:
        document = _named(task_id, _reported(place))
    if as_json:
        print_json(document)
        return
    print_table(["property", "value"], [*_facts(document).items(), *_part(document, "state").items()])


@tasks.command("add")
@click.argument("source", metavar="FOLDER", type=click.Path(path_type=Path, exists=True, file_okay=False))
@place_options
@json_option
def add_tasks(source: Path, place: Address | Path, as_json: bool) -> None:
    """Add a task, or every task of a folder of task folders, to a running server or to another folder."""
    found = _found(source)
    _refuse_broken(found)
    added = []
    for submission in found.tasks:
        address = _copy(submission, source, place) if isinstance(place, Path) else _post(submission, place)
        added.append({"task": submission.task.id, "address": address})
        if not as_json:
            click.echo(printable(address))
    if as_json:
        print_json(added)


@tasks.command("check")
@click.argument("source", metavar="FOLDER", type=click.Path(path_type=Path, exists=True, file_okay=False))
@json_option
def check_tasks(source: Path, as_json: bool) -> None:
    """Check a task folder, or every task folder of a folder, and tell all problems."""
    found = _found(source)
    if as_json:
        broken = [{"folder": name, "problem": problem} for name, problem in found.broken]
        print_json({"tasks": [submission.task.id for submission in found.tasks], "broken": broken})
    else:
        for submission in found.tasks:
            weights = submission.model.weights
            click.echo(
                f"{submission.task.id}: in order; {weights.parameters} parameters in {len(weights.shapes)} tensors"
            )
    _refuse_broken(found)


def _documents(place: Address | Path) -> list[dict[str, Any]]:
    if isinstance(place, Path):
        return [submission.task.public() for submission in _reported(place).tasks]
    given = get_json(place, "tasks")
    if not isinstance(given, list):
        raise Refused(f"{place} did not answer with a list of tasks; is a Disco server there?")
    return given


def _facts(document: Any) -> dict[str, object]:
    """Read what a table says of a task from its JSON, of whatever generation and however incomplete."""
    display, training = _part(document, "displayInformation"), _part(document, "trainingInformation")
    top = document if isinstance(document, dict) else {}
    scheme = str(training.get("scheme", "")).lower()
    minimum = "minimumReadyPeers" if scheme == Scheme.DECENTRALIZED else "minNbOfParticipants"
    return {
        "ID": top.get("taskID", top.get("id", "")),
        "title": display.get("taskTitle", display.get("title", "")),
        "data type": training.get("dataType", top.get("dataType", "")),
        "scheme": scheme,
        "minimum": training.get(minimum, ""),
        "epochs": training.get("epochs", ""),
        "batch size": training.get("batchSize", ""),
        "round duration": training.get("roundDuration", ""),
    }


def _part(document: Any, name: str) -> dict[str, Any]:
    part = document.get(name) if isinstance(document, dict) else None
    return part if isinstance(part, dict) else {}


def _reported(folder: Path) -> FoundTasks:
    """Read a folder, and say on stderr which of its tasks are broken."""
    found = _found(folder)
    for name, problem in found.broken:
        click.echo(f"{printable(name)} is left out: {printable(problem)}", err=True)
    return found


def _found(source: Path) -> FoundTasks:
    """Read a task folder, or a folder of them."""
    if not (source / TASK_FILE).exists():
        found = load_folder(source)
    else:
        found = FoundTasks()
        try:
            found.tasks.append(load_task(source))
        except InvalidTask as error:
            found.broken.append((source.resolve().name, str(error)))
    if not (found.tasks or found.broken):
        raise UnknownTask(f"{source} holds no task folder; one has {TASK_FILE}, model.json and weights.bin")
    fit, unfit = with_held_out([(submission, "folder") for submission in found.tasks])
    return FoundTasks([submission for submission, _ in fit], [*found.broken, *unfit])


def _refuse_broken(found: FoundTasks) -> None:
    if found.broken:
        raise click.ClickException("\n".join(f"{name}: {problem}" for name, problem in found.broken))


def _named(task_id: str, found: FoundTasks) -> dict[str, Any]:
    for submission in found.tasks:
        if submission.task.id == task_id:
            state = {
                "tensors": len(submission.model.structure),
                "parameters": submission.model.weights.parameters,
            }
            return {**submission.task.public(), "state": state}
    raise UnknownTask(f"There is no task {task_id} in the folder; `disco tasks list --folder` shows what is")


def _post(submission: Submission, server: Address) -> str:
    model = submission.model
    answer = post_json(
        server,
        "tasks",
        {
            "task": dict(submission.task.document),
            "model": model.tfjs_json(),
            "weights": base64.b64encode(model.weights_bin()).decode(),
        },
    )
    address = answer.get("address") if isinstance(answer, dict) else None
    return f"{str(server).rstrip('/')}{address or f'/tasks/{submission.task.id}'}"


def _copy(submission: Submission, source: Path, target: Path) -> str:
    """Copy a task's folder into a folder of task folders, whole or not at all."""
    task = submission.task.id
    folder = source if (source / TASK_FILE).exists() else source / task
    copy, unfinished = target / task, target / f".{task}.{os.getpid()}"
    if copy.exists():
        raise TaskExists(f"{copy} exists already; remove it first or give the task another ID")
    with refusals(copy, "written"):
        try:
            shutil.copytree(folder, unfinished)
            unfinished.rename(copy)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return str(copy)
