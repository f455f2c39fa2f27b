from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from disco.errors import StorageError
from disco.storage import schema
from disco.storage.reader import DATABASE, open_reader
from disco.storage.sqlite import SqliteStore
from tests.storage.samples import model, save, snapshot, task

LATER = ("9999 later", ("CREATE TABLE later (x)", "INSERT INTO later VALUES (1)"))
BROKEN = ("9999 broken", ("CREATE TABLE later (x)", "INSERT INTO missing VALUES (1)"))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    store = SqliteStore(tmp_path)
    store.add_task(task(), model(), "folder", 0.0)
    save(store, "titanic", 1)
    store.close()
    return tmp_path


def migrate_with(monkeypatch: pytest.MonkeyPatch, migration: tuple[str, tuple[str, ...]]) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, migration))


def query(data_dir: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(data_dir / DATABASE)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def test_a_later_migration_is_applied_once_and_recorded(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate_with(monkeypatch, LATER)
    for _ in range(2):
        SqliteStore(data_dir).close()
    assert query(data_dir, "SELECT x FROM later") == [(1,)]
    assert query(data_dir, "SELECT name FROM migrations")[-1] == ("9999 later",)


def test_a_migration_keeps_what_is_there(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = SqliteStore(data_dir)
    expected = snapshot(before)
    before.close()
    migrate_with(monkeypatch, LATER)
    store = SqliteStore(data_dir)
    assert snapshot(store) == expected
    store.close()


def test_a_migration_that_fails_leaves_no_part_of_itself(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        migrate_with(patched, BROKEN)
        with pytest.raises(StorageError, match="missing"):
            SqliteStore(data_dir)
    assert query(data_dir, "SELECT name FROM sqlite_master WHERE name = 'later'") == []
    SqliteStore(data_dir).close()


def test_a_database_of_a_newer_disco_is_refused(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        migrate_with(patched, LATER)
        SqliteStore(data_dir).close()
    with pytest.raises(StorageError, match="newer Disco"):
        SqliteStore(data_dir)
    with pytest.raises(StorageError, match="newer Disco"):
        open_reader(data_dir)


def test_a_reader_does_not_migrate(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate_with(monkeypatch, LATER)
    with pytest.raises(StorageError, match="older Disco"):
        open_reader(data_dir)


def test_what_is_not_a_database_is_told(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"not a database, " * 100)
    with pytest.raises(StorageError, match=r"is not a database.*back-up"):
        SqliteStore(tmp_path)
