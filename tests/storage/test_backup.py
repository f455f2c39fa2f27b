"""A back-up is a whole data directory, taken while rounds close and are pruned; or there is none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner

from disco.cli import main
from disco.errors import StorageError
from disco.storage.backup import back_up
from disco.storage.sqlite import SqliteStore
from tests.storage.samples import bits, model, record, save, snapshot, task, weights


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path / "data", keep_last=3, inline_bytes=0)) as opened:
        opened.add_task(task(), model(), "folder", 0.0)
        opened.add_task(task("mnist"), model(3), "post", 1.0)
        save(opened, "titanic", 1)
        opened.save_round(task().id, record(2), weights(2), {"moment": weights(5).flat})
        yield opened


def test_what_is_restored_is_what_was_there(store: SqliteStore, tmp_path: Path) -> None:
    (tmp_path / "data" / "tokens.json").write_text('{"version": 1, "tokens": []}')
    back_up(tmp_path / "data", tmp_path / "copy")
    with closing(SqliteStore(tmp_path / "copy")) as restored:
        assert snapshot(restored) == snapshot(store)
        assert restored.latest_state(task().id).keys() == {"moment"}
    assert (tmp_path / "copy" / "tokens.json").exists()


def test_a_back_up_while_rounds_close_is_whole(store: SqliteStore, tmp_path: Path) -> None:
    stop = threading.Event()

    def train() -> None:
        for number in count(3):
            if stop.is_set():
                return
            save(store, "titanic", number)

    training = threading.Thread(target=train)
    training.start()
    try:
        for number in range(5):
            back_up(tmp_path / "data", tmp_path / f"copy-{number}")
    finally:
        stop.set()
        training.join()
    for number in range(5):
        with closing(SqliteStore(tmp_path / f"copy-{number}", keep_last=3)) as restored:
            latest = restored.latest_round(task().id).number
            if latest > 2:
                assert bits(restored.round_weights(task().id, latest)) == bits(weights(latest))
            assert restored.totals(task().id)[0] == latest


def test_nothing_is_overwritten(store: SqliteStore, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with pytest.raises(StorageError, match="exists already"):
        back_up(tmp_path / "data", tmp_path / "copy")


def test_a_damaged_round_makes_no_back_up(store: SqliteStore, tmp_path: Path) -> None:
    (path,) = (tmp_path / "data" / "tasks").rglob("2-*.f32")
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        back_up(tmp_path / "data", tmp_path / "copy")
    assert {entry.name for entry in tmp_path.iterdir()} == {"data"}


def test_a_back_up_shares_no_file_with_what_it_was_taken_from(store: SqliteStore, tmp_path: Path) -> None:
    back_up(tmp_path / "data", tmp_path / "copy")
    files = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert files
    assert all(path.stat().st_nlink == 1 for path in files)


def test_the_command_says_what_it_copied(store: SqliteStore, tmp_path: Path) -> None:
    arguments = ["backup", "--to", str(tmp_path / "copy"), "--data-dir", str(tmp_path / "data")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "compared with its checksum" in done.output


def test_what_is_no_data_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="not a data directory"):
        back_up(tmp_path / "nothing", tmp_path / "copy")
