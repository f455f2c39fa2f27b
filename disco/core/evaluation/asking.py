"""What a server and the process of a scorer say to each other, beside weights."""

from __future__ import annotations

from typing import Final

import msgspec

#: Of the length before each message, little-endian.
LENGTH_BYTES: Final = 8


class Answer(msgspec.Struct):
    """What the process says: figures by name, or *error*, a sentence of why there are none."""

    figures: dict[str, float] = msgspec.field(default_factory=dict)
    error: str = ""


def framed(body: bytes) -> bytes:
    """Return a message with its length before it."""
    return len(body).to_bytes(LENGTH_BYTES, "little") + body
