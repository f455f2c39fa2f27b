"""JSON documents from outside: what may be in one, whatever format or language it came from.

TOML knows dates and infinities, msgpack knows bytes and maps with any keys, Python knows everything. A
document that passed here can be written as JSON and as msgpack, and read again by every client.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from disco.errors import Problem

#: Levels of nesting. Model topologies of deep nested models reach about 20.
MAX_DEPTH = 64

#: Values in one document. A topology with a thousand layers has about 30,000.
MAX_VALUES = 200_000

#: Nobody reads more problems than this.
MAX_PROBLEMS = 100

#: What msgpack can hold. JavaScript is exact up to 2**53 only, but that is its own affair.
INTEGERS = range(-(2**63), 2**64)


def unfit(value: Any, path: str) -> list[Problem]:
    """Return everything in `value` that JSON and msgpack cannot both carry, each with its dotted path.

    Total: no depth, no type and no size makes it fail.
    """
    problems: list[Problem] = []
    waiting = [(value, path, 0)]
    seen = 0
    while waiting and len(problems) < MAX_PROBLEMS:
        item, where, depth = waiting.pop()
        seen += 1
        if seen + len(waiting) > MAX_VALUES:
            return [*problems, Problem(path, f"has more than {MAX_VALUES} values")]
        if depth > MAX_DEPTH:
            problems.append(Problem(where, f"is nested deeper than {MAX_DEPTH} levels"))
        elif isinstance(item, Mapping):
            problems.extend(
                Problem(where, f"has a key that is not text: {key!r:.80}") for key in _odd_keys(item)
            )
            waiting.extend((entry, f"{where}.{key}", depth + 1) for key, entry in item.items())
        elif isinstance(item, list | tuple):
            waiting.extend((entry, f"{where}[{index}]", depth + 1) for index, entry in enumerate(item))
        elif (why := _unfit_leaf(item)) is not None:
            problems.append(Problem(where, why))
    return problems


def without_nulls(value: Any) -> Any:
    """Copy a document without the keys whose value is null: how `undefined` arrives from some clients."""
    if isinstance(value, Mapping):
        return {key: without_nulls(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(entry) for entry in value]
    return value


def plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a document that is fit for JSON into plain dicts and lists of its own."""
    copied: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    return copied


def _odd_keys(item: Mapping[Any, Any]) -> Iterator[Any]:
    return (key for key in item if not isinstance(key, str) or not _encodable(key))


def _unfit_leaf(item: Any) -> str | None:
    match item:
        case None | bool():
            return None
        case int():
            return None if item in INTEGERS else "is too large a number"
        case float():
            return None if math.isfinite(item) else f"is {item}, which is not a number of JSON"
        case str():
            return None if _encodable(item) else "is not valid Unicode"
        case _:
            return f"is a {type(item).__name__}, which JSON cannot hold"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
