"""The ASGI edge of an HTTP request: Quart-Trio's own, with two things put right.

*The end of an answer.* hypercorn hands a finished response's end to the app as a disconnect, before it has closed the
connection. Quart-Trio cancels its request then, and with it hypercorn's closing: who asked with ``Connection: close``
waits for ever.

*A reader that reads nothing.* hypercorn shields what it sends from cancellation, so such a reader would keep its
request, the body that it asked for, and a server that wants to stop. Here it loses its connection.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, cast

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
from quart.asgi import ASGIHTTPConnection
from quart.wrappers import Request
from quart_trio.asgi import TrioASGIHTTPConnection

log = logging.getLogger("disco.web")

#: A body is handed over in pieces of this size, each with a deadline of its own.
PIECE_BYTES = 256 * 1024


class HttpEdge(TrioASGIHTTPConnection):
    """One request. A disconnect cancels what is being done for it, but not the end of its answer."""

    _finishing = False

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve the request; see the base class."""
        stream = _stream_behind(send)
        seconds = self.app.settings.limits.send  # type: ignore[attr-defined]  # the app is Disco's

        async def sending(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self._finishing = True
            for piece in _pieces(message):
                if stream is None:
                    await send(piece)
                else:
                    await _send_or_cut(partial(send, piece), stream, seconds)

        await super().__call__(receive, cast("ASGISendCallable", sending))

    async def handle_messages(  # type: ignore[override]  # as the base class does
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        """Take the request's body; at a disconnect, stop what is being done, unless it is done."""
        take: Any = ASGIHTTPConnection.handle_messages
        await take(self, request, receive)
        if not self._finishing:
            nursery.cancel_scope.cancel()


async def _send_or_cut(send: Callable[[], Awaitable[None]], stream: trio.abc.Stream, seconds: float) -> None:
    """Send, or close the connection: after so many seconds, or when this is cancelled meanwhile."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cut_after, seconds, stream, sent := trio.Event())
        await send()
        sent.set()
        nursery.cancel_scope.cancel()


async def _cut_after(seconds: float, stream: trio.abc.Stream, sent: trio.Event) -> None:
    try:
        await trio.sleep(seconds)
        log.warning("a reader took nothing for limits.send, %g s, and is let go", seconds)
    finally:
        if not sent.is_set():
            await trio.aclose_forcefully(stream)


def _pieces(message: Any) -> Iterator[Any]:
    """Cut a body into pieces; every other message is one."""
    body = message.get("body", b"") if message["type"] == "http.response.body" else b""
    if len(body) <= PIECE_BYTES:
        yield message
        return
    for start in range(0, len(body), PIECE_BYTES):
        last = start + PIECE_BYTES >= len(body)
        more = not last or message.get("more_body", False)
        yield {**message, "body": body[start : start + PIECE_BYTES], "more_body": more}


def _stream_behind(send: Any) -> trio.abc.Stream | None:
    """Find the connection that hypercorn answers on; None under another server.

    `send` is a method of its stream, whose own `send` is one of its protocol, whose own is one of its server.
    """
    protocol = getattr(getattr(getattr(send, "__self__", None), "send", None), "__self__", None)
    server = getattr(getattr(protocol, "send", None), "__self__", None)
    found = getattr(server, "stream", None)
    return found if isinstance(found, trio.abc.Stream) else None
