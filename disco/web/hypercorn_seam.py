"""Where Disco's WebSocket layer enters hypercorn.

hypercorn makes a `WSStream` for each upgrade request and feeds it what it reads. `install` puts a subclass in its
place (`hypercorn_stream`) which offers the app one thing more, under ``scope["extensions"]["disco.transport"]``: an
`Upgrade`. An app that calls its `accept` gets the connection itself, and hypercorn reads nothing more. An app that
does not is served as ever, by ASGI messages.

Why: hypercorn and wsproto copy each payload several times, queue whole messages, agree on permessage-deflate
whenever a client offers it, and judge a message's size only after buffering it. ``python -m benchmarks.transport``
measures both.

Over HTTP/2 (RFC 8441) it is the same, in `hypercorn_h2`. `install` also keeps what goes wrong on one connection from
ending the server (`hypercorn_connection`).

When hypercorn's names have moved, `install` changes nothing and returns False; Disco then talks plain ASGI, which is
slower and bounds less.
"""

from __future__ import annotations

import inspect
import logging
from importlib import import_module
from importlib.metadata import version
from typing import Any

log = logging.getLogger("disco.web")

#: The extension's name in ``scope["extensions"]``.
EXTENSION = "disco.transport"
#: The series whose private names these are.
SERIES = "0.18."

#: What is used of hypercorn beyond what it documents, with the parameters it must have where that matters.
NAMES: dict[str, tuple[str, ...] | None] = {
    "protocol.h11:WSStream": None,
    "protocol.h11:H11WSConnection": ("h11_connection",),
    "protocol.h11:H11Protocol.stream_send": ("self", "event"),
    "protocol.ws_stream:WSStream": (
        *("app", "config", "context", "task_group", "ssl", "client", "server", "send"),
        "stream_id",
    ),
    "protocol.ws_stream:WSStream.handle": ("self", "event"),
    "protocol.ws_stream:WSStream.app_send": ("self", "message"),
    "protocol.ws_stream:Handshake.accept": ("self", "subprotocol", "additional_headers"),
    "protocol.ws_stream:ASGIWebsocketState.HANDSHAKE": None,
    "protocol.events:Request": None,
    "protocol.events:Response": ("stream_id", "headers", "status_code"),
    "protocol.events:Data": ("stream_id", "data"),
    "protocol.events:EndData": ("stream_id",),
    "protocol.events:StreamClosed": ("stream_id",),
    "protocol.h2:WSStream": None,
    "protocol.h2:H2Protocol.stream_send": ("self", "event"),
    "events:Closed": None,
    "events:RawData": None,
    "protocol.h2:StreamBuffer.close": ("self",),
    "protocol.h2:H2Protocol.handle": ("self", "event"),
    "protocol.h2:H2Protocol._handle_events": ("self", "events"),
    "protocol.h2:H2Protocol._flush": ("self",),
    "protocol:H2Protocol": None,
    "trio.run:TCPServer": None,
    "trio.tcp_server:TCPServer": ("app", "config", "context", "state", "stream"),
    "trio.tcp_server:TCPServer.protocol_send": ("self", "event"),
    "trio.tcp_server:TCPServer.run": ("self",),
}

#: A class of Disco's → the module and the name under which hypercorn looks it up, and where hypercorn's own is.
PLACES = {
    "UpgradableStream": ("protocol.h11", "WSStream", "protocol.ws_stream"),
    "H2Stream": ("protocol.h2", "WSStream", "protocol.ws_stream"),
    "LenientH2": ("protocol", "H2Protocol", "protocol.h2"),
    "ContainedConnection": ("trio.run", "TCPServer", "trio.tcp_server"),
}


def moved_names() -> list[str]:
    """Return what is not in hypercorn as this module expects it; nothing when all is well."""
    if not version("hypercorn").startswith(SERIES):
        return [f"hypercorn {version('hypercorn')} is not of the series {SERIES}x"]
    return [name for name, parameters in NAMES.items() if not _is_there(name, parameters)]


def install() -> bool:
    """Offer the extension to every app of this process; tell whether that is possible. May be called again."""
    moved = moved_names()
    if moved:
        log.warning("WebSockets go the slow way, for hypercorn has changed: %s", ", ".join(moved))
        return False
    from disco.web.hypercorn_connection import ContainedConnection, LenientH2
    from disco.web.hypercorn_h2 import H2Stream
    from disco.web.hypercorn_stream import UpgradableStream

    for ours in (UpgradableStream, H2Stream, LenientH2, ContainedConnection):
        _replace(ours.__name__, ours)
    return True


def remove() -> None:
    """Undo `install`."""
    for ours, (_, name, home) in PLACES.items():
        _replace(ours, getattr(import_module(f"hypercorn.{home}"), name))


def _replace(ours: str, by: type) -> None:
    place, name, _ = PLACES[ours]
    setattr(import_module(f"hypercorn.{place}"), name, by)


def _is_there(name: str, parameters: tuple[str, ...] | None) -> bool:
    module, _, path = name.partition(":")
    try:
        found: Any = import_module(f"hypercorn.{module}")
        for part in path.split("."):
            found = getattr(found, part)
        return parameters is None or tuple(inspect.signature(found).parameters) == parameters
    except (ImportError, AttributeError, TypeError, ValueError):
        return False
