"""The keys of what counted are durable with their round, and go when they cannot count again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from disco.core.names import TaskID
from disco.errors import StorageError, UnknownTask
from disco.storage.contract import Counted, Store
from disco.storage.memory import MemoryStore
from disco.storage.sqlite import SqliteStore
from tests.storage.samples import model, record, task, weights

TITANIC = TaskID("titanic")


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path)
    opened.add_task(task(), model(), "folder", 0.0)
    yield opened
    opened.close()


def save(store: Store, number: int, *keys: str, since: int = 0) -> None:
    store.save_round(TITANIC, record(number), weights(number), None, Counted(keys, since))


def test_keys_come_back_with_their_rounds(store: Store) -> None:
    save(store, 1, "a", "b")
    save(store, 2, "c")
    assert store.counted(TITANIC) == {"a": 1, "b": 1, "c": 2}


def test_keys_of_rounds_before_since_are_forgotten(store: Store) -> None:
    save(store, 1, "a")
    save(store, 2, "b")
    save(store, 3, "c", since=2)
    assert store.counted(TITANIC) == {"b": 2, "c": 3}


def test_keys_outlive_the_weights_of_their_round(store: Store) -> None:
    for number in range(1, 15):
        save(store, number, f"k{number}")
    assert len(store.rounds(TITANIC)) < 14
    assert len(store.counted(TITANIC)) == 14


def test_a_key_that_comes_again_is_of_its_last_round(store: Store) -> None:
    save(store, 1, "a", "a")
    save(store, 2, "a")
    assert store.counted(TITANIC) == {"a": 2}


def test_a_reset_forgets_keys(store: Store) -> None:
    save(store, 1, "a")
    store.reset_rounds(TITANIC)
    assert store.counted(TITANIC) == {}


def test_a_round_that_is_refused_leaves_no_keys(store: Store) -> None:
    save(store, 1, "a")
    with pytest.raises(StorageError):
        save(store, 1, "b")
    assert store.counted(TITANIC) == {"a": 1}


def test_an_unknown_task_has_none(store: Store) -> None:
    with pytest.raises(UnknownTask):
        store.counted(TaskID("nothing"))


def test_keys_are_there_after_opening_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.add_task(task(), model(), "folder", 0.0)
    save(store, 1, "a")
    store.close()
    again = SqliteStore(tmp_path)
    assert again.counted(TITANIC) == {"a": 1}
    again.close()
