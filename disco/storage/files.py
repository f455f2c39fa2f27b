"""Files that are wholly there or not at all.

A file that replaces another (`replacing`) is written under a temporary name in its own directory, fsynced and
renamed, and the directory is fsynced. What a store keeps (`keep`) carries the CRC-32 of its content in its name: a
name never stands for two contents, so nothing is ever overwritten, and whoever reads while others write gets the
bytes it asked for or none. Nobody looks for such a name before a row has it, which is after all the fsyncs; so it
is renamed before the first of them, and the second finds most of its work done.

CRC-32 tells damage, not malice. It passes over 40 MB in 9 ms where BLAKE2b takes 43 ms (zlib and hashlib of
Python 3.11 on a 2-core machine), while the disk is busy with what has been written.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from disco.core.weights import Float32s, Weights
from disco.errors import StorageError
from disco.storage.uncached import write_uncached

_log = logging.getLogger("disco.storage")

Chunk: TypeAlias = bytes | memoryview

#: How the name of a file ends that is not finished. Whoever owns the directory may remove it.
TEMPORARY = ".tmp"

#: A large file is written in so many pieces, none smaller than so many bytes. More pieces overlap better with the
#: disk, but after each the writer may have to wait for the interpreter.
PIECES = 4
PIECE_BYTES = 256 * 1024

#: Files of at least so many bytes are written past the page cache. Smaller ones are faster through it.
UNCACHED_BYTES = 16 * 1024 * 1024

_FLOAT32 = np.dtype("<f4")

_REASONS = {
    errno.ENOSPC: "the disk is full; make room on it and try again",
    errno.EDQUOT: "this user's disk quota is used up; make room and try again",
    errno.EROFS: "the file system is read-only; make it writable or choose another directory",
    errno.EACCES: "this user has no permission; grant it or choose another directory",
    errno.EPERM: "this user has no permission; grant it or choose another directory",
}


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a file's content: its length in bytes and its CRC-32."""

    size: int
    crc32: int

    def name(self, stem: str, suffix: str) -> str:
        """Return the file name of this content."""
        return f"{stem}-{self.crc32:08x}{suffix}"


@contextmanager
def refusals(path: Path, done: str) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into one sentence.

    Args:
        path: what is being worked on.
        done: what cannot be done to it, as a participle: ``written``, ``read``.

    Raises:
        StorageError: instead of `OSError`.
    """
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(f"{path} cannot be {done}: {reason}") from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under `path`, whole and durable, when the block ends; it does not on an error.

    Raises:
        StorageError: the disk refused; what was there before is unchanged.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    with refusals(path, "written"):
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_directory(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def keep(directory: Path, stem: str, suffix: str, chunks: Sequence[Chunk]) -> Kept:
    """Write `chunks`, one after the other, to a file of `directory` that is named by its content, durably.

    A crash may leave a file of that name that is not whole; nobody has been told of it.

    Raises:
        StorageError: the disk refused; there is no such file.
    """
    size = sum(map(len, chunks))
    path = directory / Kept(size, 0).name(stem, suffix)  # its checksum is known when all of it is written
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    made = [temporary]
    with refusals(path, "written"):
        try:
            with open(temporary, "wb") as file:
                large = size >= UNCACHED_BYTES
                crc32 = _write_large(temporary, chunks, size) if large else None
                if crc32 is None:
                    crc32 = _write(file, chunks, max(PIECE_BYTES, -(-size // PIECES)))
                    if large:
                        file.truncate()  # of what could not be written before
                kept = Kept(size, crc32)
                file.flush()
                made.append(directory / kept.name(stem, suffix))
                os.replace(temporary, made[-1])
                os.fsync(file.fileno())
            sync_directory(directory)
        except BaseException:
            for left in made:
                discard(left)
            raise
    return kept


def _write_large(path: Path, chunks: Sequence[Chunk], size: int) -> int | None:
    """Write `chunks` past the page cache and return their CRC-32, reckoned meanwhile; None if the system cannot."""
    with ThreadPoolExecutor(1) as aside:
        crc32 = aside.submit(checksum, chunks)
        return crc32.result() if write_uncached(path, chunks, size) else None


def _write(file: BinaryIO, chunks: Sequence[Chunk], piece: int) -> int:
    """Write `chunks` and return their CRC-32, which is reckoned while the disk writes."""
    crc = written = begun = 0
    for chunk in chunks:
        for start in range(0, len(chunk), piece):
            part = memoryview(chunk)[start : start + piece]
            file.write(part)
            written += len(part)
            if written - begun >= piece:
                _begin_writing(file.fileno(), begun, written - begun)
                begun = written
            crc = zlib.crc32(part, crc)
    return crc


def _begin_writing(descriptor: int, start: int, size: int) -> None:
    """Let the disk begin with a part of a file that is to be fsynced, without waiting for it."""
    if hasattr(os, "posix_fadvise"):  # macOS has none
        with suppress(OSError):  # it is a hint, and not every file system takes it
            os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)


def checksum(chunks: Sequence[Chunk]) -> int:
    """Return the CRC-32 of `chunks`, one after the other."""
    crc = 0
    for chunk in chunks:
        crc = zlib.crc32(chunk, crc)
    return crc


def chunks_of(weights: Weights) -> list[Chunk]:
    """Return the weights' little-endian float32 bytes, without copying where their layout allows."""
    tensors = weights.tensors if weights.buffer is None else (weights.buffer,)
    return [
        np.ascontiguousarray(tensor, dtype=_FLOAT32).view(np.uint8).data for tensor in tensors if tensor.size
    ]


def read_floats(path: Path, kept: Kept) -> Float32s:
    """Read a file of little-endian float32 values.

    Raises:
        StorageError: it is missing, damaged or cannot be read; the message names it.
    """
    return read(path, kept).view(_FLOAT32).astype(np.float32, copy=False)


def floats_of(content: bytes, kept: Kept, where: str) -> Float32s:
    """Read little-endian float32 values that were kept elsewhere than in a file, into a buffer of their own.

    Raises:
        StorageError: they are damaged; the message names `where` they were.
    """
    _require_undamaged(content, kept, where)
    return np.frombuffer(bytearray(content), dtype=_FLOAT32).astype(np.float32, copy=False)


def _require_undamaged(content: Chunk, kept: Kept, where: object) -> None:
    if len(content) != kept.size:
        raise StorageError(f"{where} is damaged: it has {len(content)} bytes instead of {kept.size}")
    if checksum([content]) != kept.crc32:
        raise StorageError(f"{where} is damaged: its checksum is not {kept.crc32:08x}")


def read(path: Path, kept: Kept) -> NDArray[np.uint8]:
    """Read a file and compare it with what was kept.

    Raises:
        StorageError: it is missing, damaged or cannot be read; the message names it.
    """
    content = np.empty(kept.size, dtype=np.uint8)
    with refusals(path, "read"), open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size != kept.size:
            raise StorageError(f"{path} is damaged: it has {size} bytes instead of {kept.size}")
        filled = 0
        while filled < size and (got := file.readinto(content.data[filled:])):
            filled += got
    _require_undamaged(content.data[:filled], kept, path)
    return content


def make_directory(path: Path) -> None:
    """Make a directory and those above it, durably. Does nothing to one that exists.

    Raises:
        StorageError: the disk refused.
    """
    with refusals(path, "made"):
        missing: list[Path] = []
        while not path.is_dir():
            missing.append(path)
            path = path.parent
        for directory in reversed(missing):
            directory.mkdir(exist_ok=True)
            sync_directory(directory.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard(path: Path) -> bool:
    """Remove a file, or a directory with all in it. Tell whether it is gone; if not, log why."""
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("%s is not needed any more but cannot be removed: %s", path, error.strerror)
        return False
    return True
