"""What a strategy remembers is kept with the newest round: whole, bit for bit, and no longer than that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from disco.core.names import TaskID
from disco.errors import StorageError, UnknownTask
from disco.storage.contract import Store
from disco.storage.memory import MemoryStore
from disco.storage.reader import open_reader
from disco.storage.sqlite import SqliteStore
from tests.storage.samples import model, record, save, task, weights

TITANIC = TaskID("titanic")
STATE = {"fedadam-m": weights(7).flat, "fedadam-v": weights(8).flat}


@pytest.fixture(params=[lambda path: MemoryStore(), SqliteStore], ids=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    make: Callable[[Path], Store] = request.param
    with closing(make(tmp_path)) as opened:
        opened.add_task(task(), model(), "folder", 0.0)
        yield opened


def kept(store: Store) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in store.latest_state(TITANIC).items()}


def test_a_new_task_has_none(store: Store) -> None:
    assert kept(store) == {}


def test_it_comes_back_as_it_was_given(store: Store) -> None:
    store.save_round(TITANIC, record(1), weights(1), STATE)

    assert kept(store) == {name: values.tobytes() for name, values in STATE.items()}


def test_it_is_the_newest_round_s(store: Store) -> None:
    store.save_round(TITANIC, record(1), weights(1), STATE)
    store.save_round(TITANIC, record(2), weights(2), {"fedavgm-m": weights(9).flat})

    assert kept(store) == {"fedavgm-m": weights(9).flat.tobytes()}


def test_the_same_values_may_be_kept_again(store: Store) -> None:
    store.save_round(TITANIC, record(1), weights(1), STATE)
    store.save_round(TITANIC, record(2), weights(2), STATE)

    assert kept(store) == {name: values.tobytes() for name, values in STATE.items()}


def test_a_round_without_one_leaves_none(store: Store) -> None:
    store.save_round(TITANIC, record(1), weights(1), STATE)
    save(store, "titanic", 2)

    assert kept(store) == {}


def test_starting_anew_leaves_none(store: Store) -> None:
    store.save_round(TITANIC, record(1), weights(1), STATE)
    store.reset_rounds(TITANIC)

    assert kept(store) == {}


def test_it_is_the_store_s_own_copy(store: Store) -> None:
    lent = np.ones(3, dtype=np.float32)
    store.save_round(TITANIC, record(1), weights(1), {"m": lent})
    lent[:] = 5.0

    assert kept(store) == {"m": np.ones(3, dtype=np.float32).tobytes()}


def test_an_unknown_task_has_none(store: Store) -> None:
    with pytest.raises(UnknownTask):
        store.latest_state(TaskID("nobody"))


def test_it_survives_a_restart_and_can_be_read_meanwhile(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path)) as store:
        store.add_task(task(), model(), "folder", 0.0)
        store.save_round(TITANIC, record(1), weights(1), STATE)
        with closing(open_reader(tmp_path)) as reader:
            assert sorted(reader.latest_state(TITANIC)) == sorted(STATE)
    with closing(SqliteStore(tmp_path)) as again:
        assert kept(again) == {name: values.tobytes() for name, values in STATE.items()}


def test_damage_is_told(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path, inline_bytes=0)) as store:
        store.add_task(task(), model(), "folder", 0.0)
        store.save_round(TITANIC, record(1), weights(1), STATE)
        (file,) = tmp_path.rglob("state-fedadam-m-*")
        file.write_bytes(b"\x00" * file.stat().st_size)

        with pytest.raises(StorageError, match="damaged"):
            store.latest_state(TITANIC)


def test_what_a_crash_left_is_swept_and_what_is_named_stays(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path, inline_bytes=0)) as store:
        store.add_task(task(), model(), "folder", 0.0)
        store.save_round(TITANIC, record(1), weights(1), STATE)
        (named,) = tmp_path.rglob("state-fedadam-m-*")
    left = [named.with_name("state-fedadam-m-2-0123abcd.f32"), named.with_name(f"{named.name}.77.tmp")]
    for path in left:
        path.write_bytes(b"left")
    with closing(SqliteStore(tmp_path, inline_bytes=0)):
        assert [path.exists() for path in (named, *left)] == [True, False, False]
