"""``kill -9`` at random moments: what a store said is on disk is there, whole, when it is opened again."""

from __future__ import annotations

import multiprocessing
import random
import threading
from contextlib import closing
from pathlib import Path

import pytest

from disco.core.names import TaskID
from disco.storage.contract import Store
from tests.storage.samples import bits, model, record, weights
from tests.storage.saving import KEEP_EVERY, KEEP_LAST, SHAPES, opened, save_for_ever

KILLS = 20
ROW, FILE = 1_000_000, 0


@pytest.mark.parametrize("inline_bytes", [ROW, FILE], ids=["in rows", "in files"])
def test_what_was_saved_before_a_kill_is_there_bit_for_bit_after_it(
    tmp_path: Path, inline_bytes: int
) -> None:
    moments = random.Random(4)
    latest, told_tasks = 0, set[object]()
    for run in range(KILLS):
        seconds = moments.uniform(0, 0.01)
        told = save_until_killed(tmp_path, inline_bytes, f"task-{run}", moments.randrange(8), seconds)
        told_tasks |= {value for word, value in told if word == "task"}
        told_rounds = [value for word, value in told if word == "round" and isinstance(value, int)]
        with closing(opened(tmp_path, inline_bytes)) as store:
            tasks = [stored.task.id for stored in store.tasks()]
            assert told_tasks <= set(tasks)
            for task in tasks:
                assert bits(store.model(task).weights) == bits(model(shapes=SHAPES).weights)
            if tasks:
                told_latest = max([latest, *told_rounds])
                latest = check_rounds(store, tasks[0])
                assert told_latest <= latest <= told_latest + 1
                rounds = len(tasks) + len(store.rounds(tasks[0])) - 1
                assert files_on_disk(tmp_path) == len(tasks) + (rounds if inline_bytes == FILE else 0)
    assert latest >= KILLS


def check_rounds(store: Store, task: TaskID) -> int:
    """Compare every round with what must have been saved, and return the latest's number."""
    records = {kept.number: kept for kept in store.rounds(task)}
    latest = max(records)
    kept = {number for number in range(latest + 1) if number % KEEP_EVERY == 0 or number > latest - KEEP_LAST}
    assert set(records) == kept
    for number in kept - {0}:
        assert records[number] == record(number)
        assert bits(store.round_weights(task, number)) == bits(weights(number, SHAPES))
    assert store.totals(task) == (latest, 2 * latest)
    return latest


def files_on_disk(data_dir: Path) -> int:
    return sum(path.is_file() for path in (data_dir / "tasks").rglob("*"))


def save_until_killed(
    data_dir: Path, inline_bytes: int, new_task: str, words: int, seconds: float
) -> list[tuple[str, object]]:
    """Run `save_for_ever`, kill it some seconds after it has said so many words, and return all that it said."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([save_for_ever.__module__])
    hear, say = processes.Pipe(duplex=False)
    process = processes.Process(target=save_for_ever, args=(data_dir, inline_bytes, new_task, say))
    process.start()
    say.close()
    told: list[tuple[str, object]] = [hear.recv() for _ in range(words + 1)]
    killing = threading.Timer(seconds, process.kill)
    killing.start()
    try:
        while True:
            told.append(hear.recv())
    except EOFError:
        killing.join()
        process.join()
        process.close()
        hear.close()
    return told
