from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from disco.errors import DataDirectoryInUse
from disco.storage.lock import DirectoryLock

HOLD = """
import sys, pathlib
from disco.storage.lock import DirectoryLock
lock = DirectoryLock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run another process that holds a directory for the length of a block."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_holder_in_the_same_process_is_refused(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with pytest.raises(DataDirectoryInUse):
        DirectoryLock(tmp_path)
    lock.release()


def test_the_refusal_says_who_holds_it_and_what_to_do(tmp_path: Path) -> None:
    with (
        holding(tmp_path) as other,
        pytest.raises(
            DataDirectoryInUse,
            match=rf"{tmp_path} is in use by process {other.pid} on host \S+ since 2\S+; .*--data-dir",
        ),
    ):
        DirectoryLock(tmp_path)


def test_the_lock_goes_with_its_process_even_when_that_is_killed(tmp_path: Path) -> None:
    with holding(tmp_path) as other:
        other.kill()
        other.wait()
        DirectoryLock(tmp_path).release()


def test_a_refused_holder_leaves_the_lock_with_the_first(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    for _ in range(2):
        with pytest.raises(DataDirectoryInUse, match=f"process {os.getpid()} "):
            DirectoryLock(tmp_path)
    lock.release()


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    lock.release()
    lock.release()
    DirectoryLock(tmp_path).release()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe"])
def test_an_unreadable_holder_is_another_process(tmp_path: Path, content: bytes) -> None:
    lock = DirectoryLock(tmp_path)
    (tmp_path / "lock").write_bytes(content)
    with pytest.raises(DataDirectoryInUse, match="in use by another process"):
        DirectoryLock(tmp_path)
    lock.release()
