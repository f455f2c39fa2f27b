"""The masking of client frames, undone at memory speed.

Every byte of a client's payload is XORed with one byte of a 4-byte key in turn. Of large payloads eight bytes are
undone at a time where they lie, so that they are touched once more after they arrived and never copied. Small ones are
copied by the masker of the `websockets` package, which is in C: 0.1 µs for a kilobyte, 1 µs for 40 kB, where Python's
integers take 2 µs and numpy 8. Where its C extension is not there, the copy is numpy's.

Source: RFC 6455, section 5.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

apply_mask: Callable[[memoryview, bytes], bytes] | None
try:
    from websockets.speedups import apply_mask
except ImportError:
    apply_mask = None

Bytes: TypeAlias = NDArray[np.uint8]

WORD = 8


def unmask(buffer: Bytes, start: int, stop: int, key: bytes, offset: int) -> None:
    """Undo the mask of ``buffer[start:stop]`` in place.

    Args:
        buffer: 1-D, its first element aligned to 8 bytes (as fresh numpy arrays are).
        start: index of the first byte.
        stop: index after the last byte.
        key: the frame's 4 bytes.
        offset: position of ``buffer[start]`` in its frame's payload.
    """
    # The pattern repeats every 4 bytes, so it can be laid out once for the buffer's aligned words:
    # the byte at index i is masked with pattern[i % 8], wherever the frame began.
    shift = (offset - start) % 4
    pattern = (key[shift:] + key[:shift]) * 6  # covers any 15 bytes from any offset within a word
    if stop - start < 2 * WORD:
        at = start % WORD
        _xor(buffer[start:stop], pattern[at : at + stop - start])
        return
    first, last = start + -start % WORD, stop - stop % WORD
    _xor(buffer[start:first], pattern[start % WORD : WORD])
    words = buffer[first:last].view(np.uint64)
    np.bitwise_xor(words, np.frombuffer(pattern, np.uint64, 1), out=words)
    _xor(buffer[last:stop], pattern[: stop - last])


def unmasked(data: bytes, start: int, stop: int, key: bytes) -> bytes | memoryview:
    """Return the payload ``data[start:stop]`` of one whole frame without its mask, as a copy."""
    if apply_mask is not None:
        return apply_mask(memoryview(data)[start:stop], key)
    size = stop - start
    words = np.empty(-(-size // WORD), np.uint64)
    buffer = words.view(np.uint8)
    buffer[:size] = np.frombuffer(data, np.uint8, size, start)
    np.bitwise_xor(words, np.frombuffer(key * 2, np.uint64), out=words)
    return buffer.data[:size]


def _xor(part: Bytes, pattern: bytes) -> None:
    if part.size:
        np.bitwise_xor(part, np.frombuffer(pattern, np.uint8, part.size), out=part)
