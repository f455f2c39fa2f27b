"""A store that remembers how a task stands keeps and forgets the same rounds as one that asks its database."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from disco.core.evaluation import Mark
from disco.core.names import TaskID
from disco.errors import StorageError
from disco.storage.contract import Counted, Store
from disco.storage.memory import MemoryStore
from disco.storage.reader import DATABASE
from disco.storage.sqlite import SqliteStore
from tests.storage.samples import model, record, save, snapshot, task, weights

TITANIC = TaskID("titanic")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path, keep_last=3, keep_every=4)) as opened:
        opened.add_task(task(), model(), "folder", 0.0)
        yield opened


def numbers(store: Store) -> list[int]:
    return [kept.number for kept in store.rounds(TITANIC)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("inline_bytes", [0, 1_000], ids=["files", "rows"])
def test_both_say_the_same_over_many_rounds(tmp_path: Path, seed: int, inline_bytes: int) -> None:
    chance = random.Random(seed)
    rule = {"keep_last": chance.randint(1, 4), "keep_every": chance.randint(1, 6)}
    memory = MemoryStore(**rule)
    with closing(SqliteStore(tmp_path, **rule, inline_bytes=inline_bytes)) as disk:
        for store in (memory, disk):
            store.add_task(task(), model(), "folder", 0.0)
        number = 0
        for _ in range(60):
            number += chance.choice([1, 1, 1, 2])
            marks = {"best": Mark(chance.randint(0, number), 1.0)} if chance.random() < 0.2 else None
            state = {"fedadam-m": weights(number).flat} if chance.random() < 0.5 else {}
            keys = (f"{number}",) if chance.random() < 0.5 else ()
            for store in (memory, disk):
                counted = Counted(keys, max(0, number - 3))
                store.save_round(TITANIC, record(number), weights(number), state, counted, 0.5)
                if marks is not None:
                    store.add_figures(TITANIC, number, {"loss": 1.0}, marks)
            if chance.random() < 0.5:
                disk.tidy()
            assert snapshot(disk) == snapshot(memory)
            assert disk.counted(TITANIC) == memory.counted(TITANIC)


def test_a_round_that_fails_is_not_remembered(store: SqliteStore) -> None:
    for number in range(1, 6):
        save(store, "titanic", number)
    before = snapshot(store)
    store._connection.execute("PRAGMA max_page_count = 1")
    with suppress(StorageError):
        store.save_round(TITANIC, record(6), weights(6), {"m": weights(6).flat}, Counted(("a" * 9_000,)))
    store._connection.execute("PRAGMA max_page_count = 1000000")
    assert snapshot(store) == before
    for number in (6, 7):
        save(store, "titanic", number)
    assert numbers(store) == [0, 4, 5, 6, 7]


def test_a_reset_is_not_overlooked(store: SqliteStore) -> None:
    for number in range(1, 6):
        save(store, "titanic", number)
    store.reset_rounds(TITANIC)
    for number in range(1, 6):
        save(store, "titanic", number)
    assert numbers(store) == [0, 3, 4, 5]


def test_a_task_that_is_added_again_starts_anew(store: SqliteStore) -> None:
    for number in range(1, 6):
        save(store, "titanic", number)
    store.remove_task(TITANIC)
    store.add_task(task(), model(), "folder", 0.0)
    save(store, "titanic", 1)
    assert numbers(store) == [0, 1]


def test_fewer_are_kept_after_the_rule_has_changed(store: SqliteStore, tmp_path: Path) -> None:
    for number in range(1, 8):
        save(store, "titanic", number)
    store.close()
    with closing(SqliteStore(tmp_path, keep_last=1, keep_every=100)) as stricter:
        save(stricter, "titanic", 8)
        assert numbers(stricter) == [0, 8]


def test_what_was_committed_is_moved_from_the_log_when_it_is_tidied_up(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disco.storage.log.LOG_BYTES", 0)
    database = tmp_path / DATABASE
    before = database.stat().st_size
    store.save_round(TITANIC, record(1), weights(1))
    assert (store.untidy, database.stat().st_size) == (True, before)
    store.tidy()
    assert (store.untidy, database.stat().st_size > before) == (False, True)


def test_a_log_that_cannot_be_moved_stays(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disco.storage.log.LOG_BYTES", 0)
    store.save_round(TITANIC, record(1), weights(1))
    before = snapshot(store)
    store._connection.execute("BEGIN")
    store.tidy()  # SQLite refuses in the midst of a transaction
    store._connection.execute("ROLLBACK")
    assert snapshot(store) == before
