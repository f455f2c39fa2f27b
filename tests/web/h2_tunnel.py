"""A WebSocket's bytes over HTTP/2, as a browser has them (RFC 8441): one stream of a connection, on the h2 library."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import h2.events
import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from tests.web.clients import PATIENCE


class Tunnel:
    """One stream of an HTTP/2 connection, after the server's answer; use it as a Trio stream."""

    def __init__(self, stream: trio.abc.Stream, window: int | None) -> None:
        self._stream = stream
        self._lock = trio.Lock()
        self._changed = trio.Event()
        self._received = bytearray()
        self._ended = self._ponged = False
        self.connection = H2Connection(H2Configuration(client_side=True))
        if window is not None:
            values = {SettingCodes.INITIAL_WINDOW_SIZE: window}
            self.connection.local_settings = Settings(client=True, initial_values=values)
        self.id = 0
        self.status = 0

    async def run(self, path: str, headers: Mapping[str, str], task_status: trio.TaskStatus[None]) -> None:
        """Ask for the WebSocket, and read until the connection ends."""
        self.connection.initiate_connection()
        await self._flush()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await self._stream.receive_some():
                for event in self.connection.receive_data(bytes(data)):
                    self._take(event)
                if not self.id and self.connection.remote_settings.enable_connect_protocol:
                    self.id = self.connection.get_next_available_stream_id()
                    pseudo = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "http"}
                    pseudo |= {":path": path, ":authority": "127.0.0.1", "sec-websocket-version": "13"}
                    self.connection.send_headers(self.id, [*pseudo.items(), *headers.items()])
                await self._flush()
                if self.status and task_status is not trio.TASK_STATUS_IGNORED:
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
        self._ended = True
        self._changed.set()

    def _take(self, event: object) -> None:
        match event:
            case h2.events.ResponseReceived():
                self.status = next(int(value) for name, value in event.headers if name == b":status")
            case h2.events.DataReceived():
                self._received += event.data
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.PingAckReceived():
                self._ponged = True
            case h2.events.StreamEnded() | h2.events.StreamReset():
                self._ended = True
        self._changed.set()
        self._changed = trio.Event()

    async def _flush(self) -> None:
        async with self._lock:
            await self._stream.send_all(self.connection.data_to_send())

    async def send_all(self, data: bytes) -> None:
        """Send, as the server makes room."""
        while data:
            room = min(
                self.connection.local_flow_control_window(self.id), self.connection.max_outbound_frame_size
            )
            if self._ended:
                raise trio.BrokenResourceError("the stream has ended")
            if room <= 0:
                await self._changed.wait()
                continue
            try:
                self.connection.send_data(self.id, data[:room])
            except ProtocolError as error:
                raise trio.BrokenResourceError(str(error)) from error
            data = data[room:]
            await self._flush()

    async def receive_some(self, size: int | None = None) -> bytes:
        """Receive something; nothing at the end."""
        while not self._received and not self._ended:
            await self._changed.wait()
        data = bytes(self._received[:size])
        del self._received[: len(data)]
        return data

    async def ping(self) -> None:
        """Return when the connection has answered a ping of its own, not of a WebSocket's."""
        self.connection.ping(bytes(8))
        await self._flush()
        while not self._ponged:
            await self._changed.wait()

    async def reset(self) -> None:
        """End the stream at once, and leave its connection open."""
        self.connection.reset_stream(self.id, ErrorCodes.CANCEL)
        await self._flush()


@asynccontextmanager
async def tunnel(
    address: str,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    trust: ssl.SSLContext | None = None,
    window: int | None = None,
) -> AsyncIterator[Tunnel]:
    """Ask a server (host:port) for a WebSocket over HTTP/2, in clear text unless there is something to trust.

    `window` is how many bytes the server may send of it; HTTP/2's own default if None.
    """
    host, _, port = address.partition(":")
    stream: trio.abc.Stream = await trio.open_tcp_stream(host, int(port))
    if trust is not None:
        trust.set_alpn_protocols(["h2"])
        stream = trio.SSLStream(stream, trust, server_hostname=host)
    found = Tunnel(stream, window)
    try:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(PATIENCE):
                await nursery.start(found.run, path, headers or {})
            yield found
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)
