"""hypercorn's connections, made hard to break: what goes wrong on one ends that one, and no address has too many.

hypercorn 0.18 serves every connection in one nursery, so that an exception in its own code, such as a lookup of an
HTTP/2 stream that has ended, ends the server. Two hundred bytes of a stranger's are enough.

Private names of hypercorn are used here and in `hypercorn_seam`, which checks them before it imports this module.
"""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any

import trio
from h2.events import DataReceived
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.trio.tcp_server import TCPServer

from disco.errors import TooMany
from disco.settings import Limits
from disco.web.cutting import send_or_cut

log = logging.getLogger("disco.web")

#: To copy this much costs less than the task that watches over a send that may have to wait.
AT_ONCE_BYTES = 16 * 1024
#: That a client may take to read why its TLS handshake failed.
FAREWELL_SECONDS = 2.0


class ContainedConnection(TCPServer):
    """One connection of hypercorn's, whose faults are its own.

    An app with a method `counted` (see `disco.app.Disco`) is asked first whether the client may have one more.
    """

    async def run(self) -> None:
        """Serve it to its end; what is raised meanwhile is logged in one line, and with a traceback at DEBUG."""
        try:
            with self._counted():
                if not isinstance(self.stream, trio.SSLStream) or await self._shake_hands(self.stream):
                    await super().run()
        except* TooMany as refusals:
            await trio.aclose_forcefully(self.stream)
            log.info("a connection was refused: %s", _first(refusals))
        except* Exception as group:
            log.warning("a connection was ended, as serving it failed: %r", _first(group))
            log.debug("serving a connection failed", exc_info=group)

    async def _shake_hands(self, stream: trio.SSLStream[trio.SocketStream]) -> bool:
        """Begin TLS, and tell whether that worked; if not, the client and the log learn why.

        hypercorn says nothing, and Trio drops the alert with which a client learns that it lacks a certificate.
        """
        try:
            with trio.fail_after(self.config.ssl_handshake_timeout):
                await stream.do_handshake()
        except trio.TooSlowError:
            log.info("a connection was ended: its TLS handshake took too long")
        except trio.BrokenResourceError as error:
            log.info("a connection was ended, as its TLS handshake failed: %s", error.__cause__ or error)
            alert = getattr(stream, "_outgoing", None)
            if alert is not None and alert.pending:
                await _say_goodbye(stream.transport_stream, alert.read())
        else:
            return True
        await trio.aclose_forcefully(stream)
        return False

    async def protocol_send(self, event: Event) -> None:
        """See the base class; who takes nothing is cut, after ``limits.send``, or when the server has to stop.

        Not only an app's answers are sent so: whoever floods HTTP/2 with pings is owed as many answers.
        """
        if not isinstance(event, RawData):
            await super().protocol_send(event)
        elif rest := self._send_at_once(event.data):
            settings = getattr(getattr(self.app, "app", None), "settings", None)
            seconds = (Limits() if settings is None else settings.limits).send
            await send_or_cut(partial(super().protocol_send, RawData(rest)), self.stream, seconds)

    def _send_at_once(self, data: bytes) -> bytes:
        """Send of a few bytes, such as an answer's head, what needs no waiting, and return the rest."""
        stream: trio.abc.Stream = self.stream
        if len(data) > AT_ONCE_BYTES or not isinstance(stream, trio.SocketStream) or self.send_lock.locked():
            return data
        try:
            return data[os.write(stream.socket.fileno(), data) :]
        except OSError:  # nothing can be sent now, or ever: the usual way tells which
            return data

    def _counted(self) -> AbstractContextManager[None]:
        counted = getattr(getattr(self.app, "app", None), "counted", None)
        transport = getattr(self.stream, "transport_stream", self.stream)
        try:
            return nullcontext() if counted is None else counted(str(transport.socket.getpeername()[0]))
        except OSError:  # it has gone already
            return nullcontext()


async def _say_goodbye(transport: trio.SocketStream, data: bytes) -> None:
    """Send the last bytes, and let the client read them: to close with bytes unread would take them back."""
    with trio.move_on_after(FAREWELL_SECONDS), suppress(trio.BrokenResourceError):
        await transport.send_all(data)
        await transport.send_eof()
        while await transport.receive_some(AT_ONCE_BYTES):
            pass


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class LenientH2(H2Protocol):
    """HTTP/2 whose clients may be sending still what was answered already, and may go before they have read it.

    Source: RFC 9113, section 5.1, "closed".
    """

    async def handle(self, event: Any) -> None:
        """See the base class; who waits to send to a client that is gone waits no more."""
        await super().handle(event)
        if isinstance(event, Closed):
            for buffer in tuple(self.stream_buffers.values()):
                await buffer.close()

    async def _handle_events(self, events: list[Any]) -> None:
        """See the base class; what comes for a stream that has ended is dropped, and its room given back."""
        for event in events:
            if isinstance(event, DataReceived) and event.stream_id not in self.streams:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                await self._flush()
            else:
                await super()._handle_events([event])
