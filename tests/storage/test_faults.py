"""A disk that refuses, at every step of every change: the state before is the state after, and work goes on."""

from __future__ import annotations

import errno
import io
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from disco.core.names import TaskID
from disco.errors import StorageError
from disco.storage import files
from disco.storage.sqlite import SqliteStore
from tests.storage.samples import bits, model, record, save, snapshot, task, weights

TITANIC = TaskID("titanic")

CHANGES: dict[str, Callable[[SqliteStore], None]] = {
    "add_task": lambda store: store.add_task(task("mnist"), model(3), "post", 0.0),
    "save_round": lambda store: save(store, "titanic", 3),
    "save_round with a state": lambda store: store.save_round(
        TITANIC, record(3), weights(3), {"fedadam-m": weights(4).flat, "fedadam-v": weights(5).flat}
    ),
}


class Faults:
    """Lets the n-th system call that writes fail, as if the disk refused it."""

    def __init__(self, code: int, step: int) -> None:
        self._code = code
        self._left = step
        self.happened = False

    def strike(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.happened = True
            raise OSError(self._code, os.strerror(self._code))

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("fsync", "replace", "mkdir"):
            monkeypatch.setattr(os, name, self._failing(getattr(os, name)))
        monkeypatch.setattr(files, "open", self._open, raising=False)

    def _failing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*args: Any, **kwargs: Any) -> Any:
            self.strike()
            return call(*args, **kwargs)

        return failing

    def _open(self, path: Path, mode: str) -> io.BufferedWriter:
        self.strike()
        return io.BufferedWriter(_Torn(path, mode, self))


class _Torn(io.FileIO):
    """Writes half of what it is given, and then fails if it is its turn."""

    def __init__(self, path: Path, mode: str, faults: Faults) -> None:
        super().__init__(path, mode)
        self._faults = faults

    def write(self, content: Any) -> int:
        written = super().write(memoryview(content)[: max(1, len(content) // 2)])
        self._faults.strike()
        return written


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path, keep_last=1, inline_bytes=0)) as opened:
        opened.add_task(task(), model(), "folder", 0.0)
        save(opened, "titanic", 1)
        save(opened, "titanic", 2)
        yield opened


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO], ids=["full", "read-only", "broken"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_refusal_at_any_step_changes_nothing_and_the_next_attempt_works(
    store: SqliteStore, tmp_path: Path, change: Callable[[SqliteStore], None], code: int
) -> None:
    before, found, step = snapshot(store), model_files(tmp_path), 0
    while True:
        step += 1
        faults = Faults(code, step)
        with pytest.MonkeyPatch.context() as monkeypatch:
            faults.install(monkeypatch)
            with suppress(StorageError):
                change(store)
                break
        assert snapshot(store) == before, f"after step {step}"
        assert model_files(tmp_path) == found, f"after step {step}"
    assert step > 5
    assert not faults.happened
    assert snapshot(store) != before


@pytest.mark.parametrize(
    ("code", "advice"),
    [(errno.ENOSPC, "disk is full; make room"), (errno.EROFS, "read-only; make it writable")],
)
def test_a_refusal_says_which_path_and_what_to_do(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    Faults(code, 1).install(monkeypatch)
    with pytest.raises(StorageError, match=rf"rounds/3-\w+\.f32 cannot be written: .*{advice}"):
        save(store, "titanic", 3)


def test_a_database_that_cannot_grow_changes_nothing(store: SqliteStore, tmp_path: Path) -> None:
    before, found = snapshot(store), model_files(tmp_path)
    connection = store._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    large = replace(record(3), figures={f"figure {index}": float(index) for index in range(2_000)})
    with pytest.raises(StorageError, match="the disk is full; make room"):
        store.save_round(TITANIC, large, weights(3))
    assert (snapshot(store), model_files(tmp_path)) == (before, found)
    connection.execute("PRAGMA max_page_count = 1000000")
    store.save_round(TITANIC, large, weights(3))
    assert store.latest_round(TITANIC) == large


def test_a_write_ahead_log_that_cannot_grow_changes_nothing(store: SqliteStore, tmp_path: Path) -> None:
    before = snapshot(store)
    with file_size_limit((tmp_path / "disco.sqlite3-wal").stat().st_size), pytest.raises(StorageError):
        save(store, "titanic", 3)
    assert snapshot(store) == before
    save(store, "titanic", 3)
    assert store.latest_round(TITANIC) == record(3)


def test_a_failed_commit_survives_the_end_of_its_process_whole_or_not_at_all(
    store: SqliteStore, tmp_path: Path
) -> None:
    before = snapshot(store)
    with file_size_limit((tmp_path / "disco.sqlite3-wal").stat().st_size), pytest.raises(StorageError):
        save(store, "titanic", 3)
    store.close()
    with closing(SqliteStore(tmp_path)) as again:
        assert snapshot(again) == before
        assert len(model_files(tmp_path)) == 3


def test_files_that_cannot_be_removed_are_removed_with_the_next_change(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        save(store, "titanic", 3)
    assert round_files(tmp_path) == [0, 2, 3]
    save(store, "titanic", 4)
    assert round_files(tmp_path) == [0, 4]


def test_a_file_that_could_not_be_removed_stays_when_it_is_kept_again(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        store.reset_rounds(TITANIC)
    assert round_files(tmp_path) == [0, 2]
    save(store, "titanic", 2)
    assert round_files(tmp_path) == [0, 2]
    assert bits(store.round_weights(TITANIC, 2)) == bits(weights(2))


def test_files_that_cannot_be_removed_are_left_to_the_next_opening(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        save(store, "titanic", 3)
        store.close()
    assert not store.untidy
    assert round_files(tmp_path) == [0, 2, 3]
    SqliteStore(tmp_path).close()
    assert round_files(tmp_path) == [0, 3]


def test_a_round_s_files_go_when_it_is_tidied_up_and_not_before(store: SqliteStore, tmp_path: Path) -> None:
    store.save_round(TITANIC, record(3), weights(3))
    assert (store.untidy, round_files(tmp_path)) == (True, [0, 2, 3])
    store.tidy()
    assert (store.untidy, round_files(tmp_path)) == (False, [0, 3])


def test_a_round_s_files_go_with_the_next_round_if_nobody_tidies_up(
    store: SqliteStore, tmp_path: Path
) -> None:
    for number in (3, 4, 5):
        store.save_round(TITANIC, record(number), weights(number))
        assert round_files(tmp_path) == [0, number - 1, number]


def test_what_a_crash_left_behind_is_removed_at_the_next_opening(store: SqliteStore, tmp_path: Path) -> None:
    (titanic,) = (tmp_path / "tasks").iterdir()
    (titanic / "rounds" / "3-0badf00d.f32").write_bytes(b"unfinished")
    (titanic / "rounds" / "3-0badf00d.f32.4711.tmp").write_bytes(b"un")
    (titanic / "model-0badf00d.msgpack").write_bytes(b"unfinished")
    (tmp_path / "tasks" / "2-mnist" / "rounds").mkdir(parents=True)
    found = model_files(tmp_path)
    store.close()
    SqliteStore(tmp_path).close()
    assert len(model_files(tmp_path)) == len(found) - 3
    assert list((tmp_path / "tasks").iterdir()) == [titanic]


def test_files_that_are_not_ours_are_left_alone(store: SqliteStore, tmp_path: Path) -> None:
    (titanic,) = (tmp_path / "tasks").iterdir()
    (tmp_path / "tasks" / "kept models").mkdir()
    notes = [
        titanic / "notes.txt",
        tmp_path / "tasks" / "notes.txt",
        tmp_path / "tasks/kept models/1-0badf00d.f32",
    ]
    for path in notes:
        path.write_text("round 2 looked odd")
    store.close()
    SqliteStore(tmp_path).close()
    assert all(path.exists() for path in notes)


def test_a_store_that_cannot_open_lets_go_of_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        Faults(errno.ENOSPC, 1).install(patched)
        with pytest.raises(StorageError):
            SqliteStore(tmp_path / "new")
    SqliteStore(tmp_path / "new").close()


def test_a_closed_store_refuses_and_can_be_closed_again(store: SqliteStore) -> None:
    store.close()
    store.close()
    with pytest.raises(StorageError):
        store.tasks()


@pytest.mark.parametrize("rule", [{"keep_last": 0}, {"keep_every": 0}])
def test_a_rule_that_would_forget_the_latest_round_is_refused(tmp_path: Path, rule: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SqliteStore(tmp_path, **rule)


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def model_files(data_dir: Path) -> set[Path]:
    return {path for path in (data_dir / "tasks").rglob("*") if path.is_file()}


def round_files(data_dir: Path) -> list[int]:
    return sorted(int(path.name.partition("-")[0]) for path in data_dir.glob("tasks/*/rounds/*"))


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes for the length of a block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
