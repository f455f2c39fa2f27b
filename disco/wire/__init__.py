"""Bytes ⇄ what they mean: every generation of the DISCO protocol, and which one a connection speaks."""

from __future__ import annotations

from collections.abc import Mapping

from disco.wire import masked, v2, v3, v4
from disco.wire.dialect import Buffer, Dialect
from disco.wire.envelope import message_type

#: Every generation of DISCO's protocol by its name, oldest first.
DIALECTS: Mapping[str, Dialect] = {dialect.NAME: dialect for dialect in (v2, v3, v4)}


def detect(data: Buffer) -> Dialect:
    """Tell which dialect a client speaks that begins with `data`, on a path without a client ID.

    Raises:
        MalformedMessage: `data` is a message of no dialect.
    """
    type_ = message_type(data)
    if type_ == masked.HELLO:
        return masked
    return v4 if isinstance(type_, str) else v3
