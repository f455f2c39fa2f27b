from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from disco.core.names import TaskID
from disco.core.weights import Float32s
from disco.errors import StorageError, UnknownRound
from disco.storage import files
from disco.storage.files import Kept
from disco.storage.reader import DATABASE, open_reader
from disco.storage.sqlite import SqliteStore
from tests.storage.samples import bits, model, record, save, snapshot, task, weights

TITANIC = TaskID("titanic")
NOBODY = 65_534


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path, keep_last=2, inline_bytes=0)) as opened:
        opened.add_task(task(), model(), "folder", 0.0)
        yield opened


def test_a_reader_sees_what_a_server_holds(store: SqliteStore, tmp_path: Path) -> None:
    save(store, "titanic", 1)
    with closing(open_reader(tmp_path)) as reader:
        assert [kept.number for kept in reader.rounds(TITANIC)] == [0, 1]
        assert reader.totals(TITANIC) == store.totals(TITANIC)
        assert reader.tasks() == store.tasks()
        assert bits(reader.round_weights(TITANIC, 1)) == bits(weights(1))
        assert bits(reader.model(TITANIC).weights) == bits(model().weights)


def test_an_open_reader_sees_rounds_that_come_later(store: SqliteStore, tmp_path: Path) -> None:
    with closing(open_reader(tmp_path)) as reader:
        save(store, "titanic", 1)
        assert reader.latest_round(TITANIC) == record(1)


def test_a_round_that_goes_while_it_is_read_is_said_to_be_gone(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(store, "titanic", 1)
    with closing(open_reader(tmp_path)) as reader:
        between(monkeypatch, lambda: store.reset_rounds(TITANIC))
        with pytest.raises(UnknownRound):
            reader.round_weights(TITANIC, 1)


def test_a_round_that_is_replaced_while_it_is_read_is_read_anew(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace() -> None:
        store.reset_rounds(TITANIC)
        store.save_round(TITANIC, record(1), weights(77))

    save(store, "titanic", 1)
    with closing(open_reader(tmp_path)) as reader:
        between(monkeypatch, replace)
        assert bits(reader.round_weights(TITANIC, 1)) == bits(weights(77))


def test_a_damaged_round_is_refused_by_name_and_the_others_are_served(
    store: SqliteStore, tmp_path: Path
) -> None:
    for number in (1, 2):
        save(store, "titanic", number)
    (path,) = tmp_path.glob("tasks/*/rounds/1-*.f32")
    content = bytearray(path.read_bytes())
    content[5] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(StorageError, match=rf"{path.name} is damaged"):
        store.round_weights(TITANIC, 1)
    assert bits(store.round_weights(TITANIC, 2)) == bits(weights(2))


def test_a_damaged_round_in_its_row_is_refused_by_number(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path)) as store:
        store.add_task(task(), model(), "folder", 0.0)
        for number in (1, 2):
            save(store, "titanic", number)
        with closing(sqlite3.connect(tmp_path / DATABASE)) as other, other:
            other.execute("UPDATE rounds SET content = zeroblob(length(content)) WHERE number = 1")
        with pytest.raises(StorageError, match=r"1-\w+ in .*disco.sqlite3 is damaged"):
            store.round_weights(TITANIC, 1)
        assert bits(store.round_weights(TITANIC, 2)) == bits(weights(2))


def test_a_missing_data_directory_is_told_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="--data-dir"):
        open_reader(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


def test_a_data_directory_on_a_read_only_medium_can_be_read() -> None:
    with read_only_directory() as data_dir, closing(open_reader(data_dir)) as reader:
        assert bits(reader.round_weights(TITANIC, 1)) == bits(weights(1))


def test_a_store_in_a_read_only_directory_is_refused_with_what_to_do() -> None:
    with (
        read_only_directory() as data_dir,
        pytest.raises(StorageError, match="no permission; grant it or choose another directory"),
    ):
        SqliteStore(data_dir)


def test_a_database_missing_beside_its_models_is_not_made_anew(store: SqliteStore, tmp_path: Path) -> None:
    store.close()
    (tmp_path / DATABASE).rename(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="missing beside the models"):
        SqliteStore(tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / DATABASE)
    with closing(SqliteStore(tmp_path)) as again:
        assert len(snapshot(again)) == 1


def between(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Let something happen once, after the row of a round was read and before its file is."""
    pending = [happens]

    def read_floats(path: Path, kept: Kept) -> Float32s:
        while pending:
            pending.pop()()
        return files.read_floats(path, kept)

    monkeypatch.setattr("disco.storage.reader.read_floats", read_floats)


@contextmanager
def read_only_directory() -> Iterator[Path]:
    """Make a data directory with a round, which this process may read and not write, for the length of a block."""
    root = Path(tempfile.mkdtemp(prefix="disco-read-only-"))
    try:
        with closing(SqliteStore(root)) as store:
            store.add_task(task(), model(), "folder", 0.0)
            save(store, "titanic", 1)
        found = [root, *root.rglob("*")]
        for path in found:
            path.chmod(0o555 if path.is_dir() else 0o444)
        privileged = os.geteuid() == 0
        if privileged:
            os.seteuid(NOBODY)  # permissions do not bind root
        try:
            yield root
        finally:
            if privileged:
                os.seteuid(0)
            for path in found:
                path.chmod(0o755)
    finally:
        shutil.rmtree(root)
