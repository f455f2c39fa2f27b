"""A process that saves rounds until it is killed, and says of each when it is on disk."""

from __future__ import annotations

from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

from disco.core.weights import Shape
from disco.storage.sqlite import SqliteStore
from tests.storage.samples import model, record, task, weights

SHAPES: tuple[Shape, ...] = ((300, 200), (200,))
KEEP_LAST, KEEP_EVERY = 3, 50


def opened(data_dir: Path, inline_bytes: int) -> SqliteStore:
    return SqliteStore(data_dir, keep_last=KEEP_LAST, keep_every=KEEP_EVERY, inline_bytes=inline_bytes)


def save_for_ever(data_dir: Path, inline_bytes: int, new_task: str, say: Connection) -> None:
    """Add a task, then save rounds of the first task on disk, each with weights that follow from its number."""
    say.send(("started", 0))
    store = opened(data_dir, inline_bytes)
    store.add_task(task(new_task), model(shapes=SHAPES), "post", 0.0)
    say.send(("task", new_task))
    first = store.tasks()[0].task.id
    for number in count(store.latest_round(first).number + 1):
        store.save_round(first, record(number), weights(number, SHAPES))
        say.send(("round", number))
