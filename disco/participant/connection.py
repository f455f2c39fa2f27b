"""One WebSocket to a server, in which nothing waits for ever.

Connecting, sending and silence have deadlines: a server that says nothing, not even to pings, is given up. What
the other side says when it ends a connection arrives as Disco's errors: a refused upgrade, or a close frame that
blames us, is `Refused`; everything else is `ConnectionLost`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import trio
import wsproto.utilities
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from disco.errors import ConnectionLost, DiscoError, Refused, TextMessage
from disco.participant.address import Address
from disco.participant.credentials import distrust
from disco.participant.http import refusal, sentence
from disco.participant.scope import background

log = logging.getLogger("disco.participant")

#: The largest message that is taken. trio-websocket's own limit, 1 MiB, is below most models.
MESSAGE_BYTES = 1 << 31
RECEIVE_BYTES = 256 * 1024
#: Slower than this, a message that is being sent is given up.
SLOWEST_BYTES_PER_SECOND = 32 * 1024
#: Seconds that saying goodbye may take.
FAREWELL_SECONDS = 1.0

#: Close codes that blame the receiver (RFC 6455, section 7.4.1): the same again would end the same.
_BLAMING = frozenset({1002, 1003, 1007, 1008, 1009})


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long the other side may take.

    Args:
        answer: seconds for connecting, and for accepting a small message.
        quiet: seconds without a byte from the server after which a ping asks for one.
        silence: seconds without a byte after which the server is given up. It answers no ping while it handles what
            we sent before, and that may be the end of a large round.
    """

    answer: float = 15.0
    quiet: float = 20.0
    silence: float = 80.0


class _WatchedStream(trio.abc.Stream):
    """A stream that remembers when it last heard something, whether it has ended, and what broke it."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self._inner = inner
        self.heard_at = trio.current_time()
        self.ended = trio.Event()
        self.fault: BaseException | None = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data: bytes | bytearray = b""
        try:
            data = await self._inner.receive_some(max_bytes)
        except trio.BrokenResourceError as error:
            self.fault = error.__cause__
            raise
        finally:
            if not data:
                self.ended.set()
        self.heard_at = trio.current_time()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._inner.aclose()


class Connection:
    """An open WebSocket, from `open_connection`. One task may send while another one receives."""

    def __init__(self, socket: WebSocketConnection, stream: _WatchedStream, deadlines: Deadlines) -> None:
        self._socket = socket
        self._stream = stream
        self._deadlines = deadlines
        self._given_up: ConnectionLost | None = None

    async def send(self, data: bytes) -> None:
        """Send one binary message.

        Raises:
            ConnectionLost: the connection has ended, or is closed now because this took too long.
            Refused: the server closed it with a reason that blames us.
        """
        seconds = self._deadlines.answer + len(data) / SLOWEST_BYTES_PER_SECOND
        with trio.move_on_after(seconds) as patience, self._translated():
            await self._socket.send_message(data)
        if patience.cancelled_caught:
            raise await self._give_up(f"{len(data)} bytes could not be sent within {seconds:.0f} s")

    async def receive(self) -> bytes:
        """Return the next message.

        Raises:
            ConnectionLost: the connection has ended.
            Refused: the server closed it with a reason that blames us.
            TextMessage: it sent a text frame.
        """
        with self._translated():
            message = await self._socket.get_message()
        if isinstance(message, str):
            raise TextMessage("the server sent a text frame, where every message is binary")
        return bytes(message)

    async def watch(self) -> None:
        """Ping a quiet server, and end the connection to a silent one. Runs until then."""
        while True:
            await trio.sleep_until(self._stream.heard_at + self._deadlines.quiet)
            asked_at = self._stream.heard_at
            if trio.current_time() < asked_at + self._deadlines.quiet:
                continue
            with trio.move_on_at(asked_at + self._deadlines.silence):
                try:
                    await self._socket.ping()
                except ConnectionClosed:
                    return
            if self._stream.heard_at == asked_at:
                await self._give_up(f"the server has been silent for {self._deadlines.silence:.0f} s")
                return

    async def close(self) -> None:
        """Say goodbye, whatever happens, for at most `FAREWELL_SECONDS`."""
        with trio.move_on_after(FAREWELL_SECONDS, shield=True):
            await self._socket.aclose()

    async def _give_up(self, reason: str) -> ConnectionLost:
        """End the connection at once, and tell whoever is receiving why."""
        self._given_up = ConnectionLost(reason)
        await trio.aclose_forcefully(self._stream)
        return self._given_up

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ConnectionClosed as error:
            raise self._given_up or _closed(error) from None


@asynccontextmanager
async def open_connection(
    address: Address, path: str, deadlines: Deadlines | None = None
) -> AsyncIterator[Connection]:
    """Connect to a path of a server; the connection is closed at the end of the block.

    What the block raises comes out as it is.

    Args:
        address: the server's.
        path: relative, such as ``federated/titanic``.
        deadlines: how long the server may take.

    Raises:
        ConnectionLost: the server cannot be reached, or does not answer now.
        Refused: it refused the connection, with its reason.
    """
    deadlines = deadlines or Deadlines()
    reading = trio.CancelScope()
    async with background() as nursery:
        try:
            with trio.fail_after(deadlines.answer):
                stream = _WatchedStream(await _open_stream(address))
                handshake = _Handshake(stream, address, path, reading)
                socket: WebSocketConnection = await nursery.start(handshake.run)
        except trio.TooSlowError:
            raise ConnectionLost(f"{address} did not answer within {deadlines.answer:g} s") from None
        except OSError as error:
            raise ConnectionLost(f"{address} cannot be reached: {error.strerror or error}") from error
        connection = Connection(socket, stream, deadlines)
        nursery.start_soon(connection.watch)
        try:
            yield connection
        finally:
            await connection.close()
            reading.cancel()


async def _open_stream(address: Address) -> trio.abc.Stream:
    """Connect, with TLS where the address says so.

    Raises:
        ConnectionLost: its certificate is not trusted, or it speaks no TLS.
        OSError: nothing listens there.
    """
    stream = await trio.open_tcp_stream(address.host, address.port)
    if not address.secure:
        return stream
    context = address.credentials.context()
    secured = trio.SSLStream(stream, context, server_hostname=address.host, https_compatible=True)
    try:
        await secured.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(stream)
        no_tls = f"{address} is not believed: there is no TLS: {error.__cause__ or error}"
        raise ConnectionLost(distrust(error.__cause__, address) or no_tls) from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secured


@dataclass(frozen=True, slots=True)
class _Handshake:
    """Makes a WebSocket of a stream.

    Args:
        reading: cancelled when the connection has been closed.
    """

    stream: _WatchedStream
    address: Address
    path: str
    reading: trio.CancelScope

    async def run(self, task_status: trio.TaskStatus[WebSocketConnection]) -> None:
        """Shake hands, then keep the WebSocket's reader running.

        Raises:
            ConnectionLost: there was no handshake.
            Refused: the server refused, with its reason.
        """
        opened = False

        async def give_up_at_end() -> None:
            await self.stream.ended.wait()
            if not opened:
                nursery.cancel_scope.cancel()

        failure: DiscoError = ConnectionLost(f"{self.address} closed the connection instead of accepting it")
        try:
            with self.reading:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(give_up_at_end)
                    socket = await self._wrap(nursery)
                    opened = True
                    # Saying goodbye needs the reader, also when all around it is being cancelled.
                    self.reading.shield = True
                    task_status.started(socket)
        except* ConnectionRejected as group:
            failure = _rejected(self.address, group)
        except* (wsproto.utilities.ProtocolError, trio.BrokenResourceError) as group:
            # The reader has closed its channel, so whoever receives hears of it.
            log.debug("%s: %s", self.address, group.exceptions[0])
        finally:
            await trio.aclose_forcefully(self.stream)
        if not opened:
            why = distrust(
                self.stream.fault, self.address
            )  # TLS 1.3 asks for our certificate after its handshake
            raise failure if why is None else ConnectionLost(why)

    async def _wrap(self, nursery: trio.Nursery) -> WebSocketConnection:
        return await wrap_client_stream(
            nursery,
            self.stream,  # type: ignore[arg-type]  # any stream will do
            self.address.authority,
            self.address.path(self.path),
            extra_headers=[
                (name.encode(), value.encode()) for name, value in self.address.credentials.headers.items()
            ],
            max_message_size=MESSAGE_BYTES,
            receive_buffer_size=RECEIVE_BYTES,
        )


def _rejected(address: Address, group: BaseExceptionGroup[ConnectionRejected]) -> DiscoError:
    """Translate a refused upgrade; the body is ``{error: sentence}``, or whatever a proxy says."""
    rejected = next(leaf for leaf in group.exceptions if isinstance(leaf, ConnectionRejected))
    reason = sentence(rejected.body or b"") or f"{address} answered {rejected.status_code}"
    return refusal(rejected.status_code, reason)


def _closed(error: ConnectionClosed) -> DiscoError:
    """Translate the end of a connection."""
    if error.reason is None:
        return ConnectionLost("the connection was closed")
    code, reason = error.reason.code, error.reason.reason
    if code in _BLAMING:
        return Refused(reason or f"the server closed the connection with code {code}")
    return ConnectionLost(reason or f"the connection ended with code {code}")
