"""``disco join``: take part in a task from the shell, with one's own data."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import trio
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from disco.cli.completion import complete_task
from disco.cli.remote import get_json, read_secret, server_options
from disco.cli.rounds import json_option
from disco.cli.table import print_json, printable
from disco.cli.taking_part import Course, Lesson, take_part
from disco.core.model import Model
from disco.core.names import Scheme
from disco.core.weights import Weights
from disco.errors import DiscoError, SettingsError
from disco.learning.architecture import Architecture
from disco.learning.examples import Examples, Figures
from disco.learning.learner import FRAMEWORKS, Recipe, choose_learner
from disco.learning.pictures import read_pictures
from disco.learning.tables import read_table
from disco.participant.address import Address
from disco.storage.export import SUFFIXES, write

#: Where a group secret is looked for, like a token.
SECRET_VARIABLE = "DISCO_GROUP_SECRET"
DATA = "A CSV file whose first line names its columns, or a folder with a folder of images for each label."


@click.command(short_help="Train a task's model on your own data, with others.")
@click.argument("task", shell_complete=complete_task)
@click.option("--data", required=True, type=click.Path(path_type=Path), metavar="FILE|DIR", help=DATA)
@server_options
@click.option(
    "--rounds", type=click.IntRange(min=1), help="How many to take part in.  [default: the task's epochs]"
)
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Passes over the data in a round.  [default: the task's]"
)
@click.option("--with", "framework", type=click.Choice(FRAMEWORKS), help="What trains.  [default: what can]")
@click.option(
    "--scheme",
    type=click.Choice([scheme.value for scheme in Scheme]),
    help="With a server or with peers.  [default: the task's]",
)
@click.option(
    "--standardize", is_flag=True, help="Scale each column to mean 0 and deviation 1. All should, or none."
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the validation split and of batches."
)
@click.option(
    "--without-privacy",
    is_flag=True,
    help="Send contributions as they are, also where the task asks for local privacy.",
)
@click.option(
    "--group-secret-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"For tasks that mask: what all participants know and the server does not; {SECRET_VARIABLE} may hold it.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR|FILE", help="Write the final model there."
)
@json_option
def join(
    task: str, server: Address, group_secret_file: Path | None, out: Path | None, as_json: bool, **given: Any
) -> None:
    """Train TASK's model on your own data, together with whoever else takes part.

    The data stays here; weights, their figures and the number of examples are sent. Dense models are trained with
    scikit-learn, others with PyTorch. Ctrl-C stops, and still writes the model.

    \b
    disco join titanic --data passengers.csv
    disco join breast_cancer --data clinic.csv --standardize --rounds 20 --out model.npz
    disco join mnist --data digits/ --scheme federated --server https://disco.example.org
    """  # noqa: D301  # \b is click's mark for lines that it must not join
    wishes = Wishes(**given)
    secret = read_secret(SECRET_VARIABLE, "--group-secret-file", group_secret_file, "secret")
    require_writable(out)
    document, model = get_json(server, f"tasks/{quote(task, safe='')}"), fetch(server, task)
    course, left_out = prepare(document, model, wishes)
    if left_out:
        click.echo(f"{left_out} rows lack a value and are left out", err=True)
    course.group_secret = secret
    scheme = Scheme(wishes.scheme or document["trainingInformation"]["scheme"])
    if secret is not None and scheme is not Scheme.FEDERATED:
        raise SettingsError(
            "a group secret is for federated tasks that mask contributions; peers have no use for it"
        )
    lessons = _run(server, task, scheme, course, as_json=as_json)
    if course.end:
        click.echo(f"the training has ended: {printable(course.end)}", err=True)
    written = [str(path) for path in write(Weights.from_arrays(course.weights), model, out)] if out else []
    if as_json:
        print_json(
            {"task": task, "rounds": [dataclasses.asdict(lesson) for lesson in lessons], "files": written}
        )
    elif written:
        click.echo(f"model written to {', '.join(written)}")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says of the training; None leaves it to the task."""

    data: Path
    rounds: int | None
    epochs: int | None
    framework: str | None
    scheme: str | None
    standardize: bool
    seed: int
    without_privacy: bool = False


def prepare(document: Mapping[str, Any], model: Model, wishes: Wishes) -> tuple[Course, int]:
    """Read the data and make what learns from it; tell how many rows were left out.

    Raises:
        SettingsError: the data does not fit the task, or nothing here can train its model.
    """
    training = document["trainingInformation"]
    architecture = Architecture.of(model)
    examples, left_out = read(document, architecture, model, wishes)
    to_train, validation = examples.split(float(training.get("validationSplit", 0)), wishes.seed)
    course = Course(
        learner=choose_learner(architecture, to_train, Recipe.of(document, wishes.seed), wishes.framework),
        validation=validation,
        activation=architecture.activation,
        epochs=wishes.epochs or int(training["roundDuration"]),
        rounds=wishes.rounds or math.ceil(training["epochs"] / training["roundDuration"]),
        samples=len(to_train),
        private=not wishes.without_privacy,
        say=_silent,
        finished=_silent,
    )
    return course, left_out


def require_writable(out: Path | None) -> None:
    """Find out before the training whether its result can be written.

    Raises:
        SettingsError: it cannot.
    """
    if out is not None and out.suffix and not out.is_dir() and out.suffix not in SUFFIXES:
        raise SettingsError(f"--out must be a directory or end in {' or '.join(SUFFIXES)}, not {out}")


def fetch(server: Address, task: str) -> Model:
    """Fetch a task's model.

    Raises:
        ConnectionLost: no server answers.
        Refused: the server has no such task.
        InvalidTask: what it serves is no model.
    """
    return Model.from_msgpack(
        bytes(get_json(server, f"tasks/{quote(task, safe='')}/model.json?format=integers"))
    )


def read(
    document: Mapping[str, Any], architecture: Architecture, model: Model, wishes: Wishes
) -> tuple[Examples, int]:
    """Read a task's examples, and tell how many rows of a table were left out.

    Raises:
        SettingsError: the data does not fit the task, or the task is of text.
    """
    match document.get("dataType"):
        case "tabular":
            outputs = model.structure[-1][-1]
            table = read_table(wishes.data, document, outputs, standardize=wishes.standardize)
            return table.examples, table.left_out
        case "image":
            if wishes.standardize:
                raise SettingsError("--standardize is for tables; images have their task's preprocessing")
            return read_pictures(wishes.data, document, architecture.input_shape), 0
        case other:
            raise SettingsError(f"{other} tasks cannot be joined from the shell; tabular and image tasks can")


def _run(server: Address, task: str, scheme: Scheme, course: Course, *, as_json: bool) -> list[Lesson]:
    """Take part until the last round, or until Ctrl-C."""
    lessons: list[Lesson] = []
    with _shown(course.rounds, hidden=as_json) as (say, finished):

        def note(lesson: Lesson) -> None:
            lessons.append(lesson)
            finished(lesson)

        course.say, course.finished = say, note
        try:
            trio.run(take_part, server, task, scheme, course)
        except* DiscoError as group:
            raise _first(group) from None
        except* KeyboardInterrupt:
            click.echo(f"stopped after {len(lessons)} rounds", err=True)
            if not lessons:
                raise click.Abort from None
    return lessons


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


Shown = tuple[Callable[[str], None], Callable[[Lesson], None]]


@contextmanager
def _shown(rounds: int, *, hidden: bool) -> Iterator[Shown]:
    """Show what goes on: a progress bar on a terminal, and a line for each finished round everywhere."""
    if hidden:
        yield _silent, _silent
    elif not sys.stdout.isatty():
        yield _silent, lambda lesson: click.echo(describe(lesson))
    else:
        with progress_bar(Console(highlight=False)) as progress:
            bar = progress.add_task("joining", total=rounds)

            def finished(lesson: Lesson) -> None:
                progress.console.print(describe(lesson), markup=False, soft_wrap=True)
                progress.advance(bar)

            yield lambda said: progress.update(bar, description=escape(printable(said))), finished


def progress_bar(console: Console) -> Progress:
    """Make the bar that shows how many rounds are over."""
    return Progress(
        SpinnerColumn(),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        console=console,
    )


def _silent(_: object) -> None:
    """Show nothing."""


def describe(lesson: Lesson) -> str:
    """Put a round in one line."""
    company = f"{lesson.participants} present" if lesson.participants else ""
    parts = [
        f"round {lesson.number}",
        f"mine {_figures(lesson.trained)}",
        f"shared {_figures(lesson.shared)}",
        company,
    ]
    return "   ".join(part for part in (*parts, f"{lesson.seconds:.1f} s") if part)


def _figures(figures: Figures) -> str:
    return " ".join(f"{name} {value:.3f}" for name, value in figures.items())
