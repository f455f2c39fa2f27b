"""The ASGI edge of an HTTP request: Quart-Trio's own, with three things put right.

*The end of an answer.* hypercorn hands a finished response's end to the app as a disconnect, before it has closed the
connection. Quart-Trio cancels its request then, and with it hypercorn's closing: who asked with ``Connection: close``
waits for ever.

*Bodies.* Quart keeps what is sent with a request for as long as it lasts, up to the limit of any, whether somebody
reads it or not: a stream of events, which lasts for days, would keep half a gigabyte for each viewer who sends it. Here
only methods that have a body may bring one, and what all bring together is part of ``limits.bytes_in_flight``.

*A reader that reads nothing.* hypercorn shields what it sends from cancellation, so such a reader would keep its
request, the body that it asked for, and a server that wants to stop. Here it loses its connection.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
from quart.asgi import ASGIHTTPConnection
from quart.wrappers import Request
from quart_trio.asgi import TrioASGIHTTPConnection

from disco.runtime.budget import Reservation
from disco.runtime.lane import Lane
from disco.web.cutting import send_or_cut

log = logging.getLogger("disco.web")

#: A body is handed over in pieces of this size, each with a deadline of its own.
PIECE_BYTES = 256 * 1024
#: Methods whose requests have a body; others may send a little, which nobody reads.
WITH_BODY = frozenset({"POST", "PUT"})
UNREAD_BYTES = 64 * 1024


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
                    await send_or_cut(partial(send, piece), stream, seconds)

        self._reservation = Reservation(self.app.lobby.budget, Lane())  # type: ignore[attr-defined]  # as above
        try:
            await super().__call__(receive, cast("ASGISendCallable", sending))
        finally:
            self._reservation.release()

    def _create_request_from_scope(self, send: ASGISendCallable) -> Request:
        """See the base class; a request without a body keeps at most `UNREAD_BYTES` of what comes with it."""
        request = super()._create_request_from_scope(send)
        if request.method not in WITH_BODY:
            request.body = request.body_class(None, UNREAD_BYTES)
        return request

    async def handle_messages(  # type: ignore[override]  # as the base class does
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        """Take the request's body as there is room for it; at a disconnect, stop what is done, unless it is done."""
        keeps = request.method in WITH_BODY

        async def admitting() -> Any:
            message: Any = await receive()
            if keeps and message.get("body"):
                await self._reservation.admit(len(message["body"]))
            return message

        take: Any = ASGIHTTPConnection.handle_messages
        await take(self, request, admitting)
        if not self._finishing:
            nursery.cancel_scope.cancel()


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
