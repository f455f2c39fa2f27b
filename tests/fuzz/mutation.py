"""Makes new inputs of old ones: byte by byte, and by what the bytes mean."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import msgpack

#: Numbers, lengths and words at which decoders stumble.
ODD: Sequence[Any] = [
    *(None, True, False, 0, 1, -1, 0.5, float("nan"), float("inf"), -0.0, 1e308),
    *(
        2**7,
        2**8,
        2**15,
        2**16,
        2**31 - 1,
        2**31,
        2**32,
        2**53,
        2**63 - 1,
        2**63,
        2**64 - 1,
        -(2**31),
        -(2**63),
    ),
    *("", "x", "é", "\x00", "__proto__", "type", "\ud7ff", "a" * 70, "payload", "federated"),
    *(b"", b"\xc1", b"\xff" * 9, [], {}, [[]], [{}], {"": None}),
]
ODD_PIECES = [
    *(b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\x7f\xff\xff\xff"),
    *(b"\xc9\xff\xff\xff\xff\x17", b"\xc8\xff\xff\x1a", b"\xd6\xff\x00\x00\x00\x00", b"\xc1", b"\x91" * 2000),
    *(
        b"\x81\xa4type",
        b"[" * 2000,
        b'{"a":' * 500,
        b"\x00" * 50,
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x82\xff",
    ),
]
#: Inputs longer than this are cut: what grows teaches nothing new.
LONGEST = 80_000


class Mutator:
    """Draws inputs from seeds; the same number draws the same ones."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def draw(self, seeds: Sequence[bytes], *, text: bool) -> bytes:
        """Return an input: a seed changed in one to four ways.

        Args:
            seeds: to begin with; another may be spliced in.
            text: whether they mean JSON; msgpack otherwise.
        """
        chance = self._chance
        data = chance.choice(seeds)
        for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
            if chance.random() < 0.5:
                data = self._by_meaning(data, text=text)
            else:
                data = self._by_bytes(data, chance.choice(seeds))
        return data[:LONGEST]

    def cuts(self, data: bytes) -> list[bytes]:
        """Cut an input into the pieces in which a network might deliver it."""
        chance = self._chance
        places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 0, 1, 2, 5))))
        return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]

    def _by_bytes(self, data: bytes, other: bytes) -> bytes:
        chance = self._chance
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.choice((1, 1, 2, 4, 16, 200)))
        match chance.randrange(6):
            case 0:
                return data[:at] + bytes(chance.randrange(256) for _ in range(to - at)) + data[to:]
            case 1:
                return data[:at] + data[to:]
            case 2:
                return data[:at] + data[at:to] * chance.choice((2, 3, 50)) + data[to:]
            case 3:
                return data[:at] + chance.choice(ODD_PIECES) + data[to:]
            case 4:
                start = chance.randrange(len(other) + 1)
                return data[:at] + other[start:]
            case _:
                return data[:at]

    def _by_meaning(self, data: bytes, *, text: bool) -> bytes:
        """Change one value in what the input means; byte by byte if it means nothing."""
        try:
            value = json.loads(data) if text else msgpack.unpackb(data, strict_map_key=False)
            changed = self._changed(value)
            return json.dumps(changed, default=repr).encode() if text else bytes(msgpack.packb(changed))
        except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
            return self._by_bytes(data, data)

    def _changed(self, value: Any) -> Any:
        chance = self._chance
        if isinstance(value, dict) and value and chance.random() < 0.8:
            key = chance.choice(list(value))
            changed = dict(value)
            match chance.randrange(5):
                case 0:
                    del changed[key]
                case 1:
                    changed[chance.choice(("x", "type", str(key) * 2))] = value[key]
                case _:
                    changed[key] = self._changed(value[key])
            return changed
        if isinstance(value, list) and value and chance.random() < 0.8:
            index = chance.randrange(len(value))
            inner = [self._changed(value[index])] if chance.random() < 0.8 else []
            return [*value[:index], *inner * chance.choice((1, 1, 1, 2, 40)), *value[index + 1 :]]
        if isinstance(value, bytes) and value and chance.random() < 0.7:
            if chance.random() < 0.5:
                return self._by_meaning(value, text=False)
            return self._by_bytes(value, value)
        if isinstance(value, msgpack.ExtType) and chance.random() < 0.7:
            code = chance.choice((0x17, 0x1A, value.code, 0, 127))
            return msgpack.ExtType(code, self._by_bytes(value.data, value.data))
        return chance.choice(ODD)
