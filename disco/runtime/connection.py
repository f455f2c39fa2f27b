"""One participant's connection, from its first message to its last."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import trio

from disco.core.events import Joined, ParticipantID, Scheme
from disco.errors import DiscoError, ProtocolViolation
from disco.runtime.coordinator import Coordinator, Line
from disco.runtime.outbox import Farewell, Outbox
from disco.runtime.transport import Received, Transport
from disco.settings import Limits
from disco.wire import detect
from disco.wire.dialect import Dialect

log = logging.getLogger("disco.runtime")


#: Messages above this size are decoded in a worker thread by dialects that have to take weights apart.
THREAD_BYTES = 256 * 1024


class Connection:
    """Reads a WebSocket into its task's inbox and writes what its outbox holds.

    A client that sends what it should not costs itself the connection, with the reason in the close frame and in the
    log; nobody else notices. Everything that arrived before the end is handled, whatever ends the connection.
    """

    def __init__(
        self,
        transport: Transport,
        coordinator: Coordinator[Any],
        scheme: Scheme,
        limits: Limits,
        allow: Callable[[float], bool] | None = None,
        release: Callable[[], None] | None = None,
    ) -> None:
        """Prepare to serve an accepted WebSocket.

        Args:
            transport: the WebSocket.
            coordinator: whose task the client asked for.
            scheme: which of the task's schemes.
            limits: the operator's.
            allow: tells whether one more message may come now (seconds of Trio's clock); None for no limit.
            release: called when a message has been handled and its bytes are free again.
        """
        self._transport = transport
        self._coordinator = coordinator
        self._scheme = scheme
        self._limits = limits
        self._allow = allow
        self._release = release
        self._outbox = Outbox(limits.outbox_messages)

    async def serve(self, participant: ParticipantID | None, dialect: Dialect | None) -> None:
        """Serve until either side closes.

        Args:
            participant: the ID that the client brought or was given; None to make one (a UUID).
            dialect: known from the path, or None to learn it from the first message.
        """
        self._coordinator.outboxes.add(self._outbox)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                try:
                    await self._read(participant, dialect)
                    self._outbox.close(1000, "")
                except DiscoError as error:
                    log.warning("task=%s connection refused: %s", self._coordinator.task, error)
                    self._outbox.close(error.close_code, str(error))
        finally:
            self._coordinator.outboxes.discard(self._outbox)

    async def _read(self, participant: ParticipantID | None, dialect: Dialect | None) -> None:
        data: Received | None = None
        with trio.move_on_after(self._limits.first_message) as patience:
            data = await self._transport.receive()
        if patience.cancelled_caught:
            seconds = self._limits.first_message
            raise ProtocolViolation(f"no message within limits.first_message, {seconds:g} s")
        if data is None:
            return
        dialect = dialect or detect(data)
        line = Line(participant or ParticipantID(str(uuid.uuid4())), dialect, dialect.FORM, self._outbox)
        self._coordinator.attach(line)
        try:
            while data is not None:
                await self._receive(data, line)
                del data  # nothing holds the bytes any more while the next message arrives
                if self._release is not None:
                    self._release()
                data = await self._transport.receive()
        finally:
            self._coordinator.detach(line)

    async def _receive(self, data: Received, line: Line) -> None:
        self._coordinator.metrics.count(
            "received_bytes", len(data), task=self._coordinator.task, dialect=line.dialect.NAME
        )
        if self._allow is not None and not self._allow(trio.current_time()):
            raise ProtocolViolation(
                f"more than limits.signals_per_second, {self._limits.signals_per_second}, messages"
            )
        decode = partial(line.dialect.decode, data, line.participant, self._scheme, line.form)
        if len(data) > THREAD_BYTES and not line.dialect.IN_PLACE:
            event, line.form = await trio.to_thread.run_sync(decode)
        else:
            event, line.form = decode()
        if isinstance(event, Joined) and event.identity is not None and not line.joined:
            self._coordinator.rename(line, ParticipantID(event.identity))
            event = replace(event, participant=line.participant)
        await self._coordinator.submit(event, line)

    async def _write(self, connection: trio.CancelScope) -> None:
        while True:
            item = await self._outbox.next()
            with trio.move_on_after(self._limits.send) as patience:
                if isinstance(item, Farewell):
                    await self._transport.close(item.code, item.reason)
                    connection.cancel()
                    return
                await self._transport.send(item)
            if patience.cancelled_caught:
                log.warning(
                    "task=%s a reader took nothing for limits.send, %g s, and is let go",
                    self._coordinator.task,
                    self._limits.send,
                )
                connection.cancel()
                return
