"""One participant's connection, from its first message to its last."""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import trio
from msgspec.structs import replace

from disco.core.events import Joined
from disco.core.names import ParticipantID, Scheme
from disco.errors import DiscoError, ProtocolViolation
from disco.metrics import Counter
from disco.runtime.coordinator import Coordinator
from disco.runtime.lines import Line
from disco.runtime.outbox import Farewell, Outbox, Rest
from disco.runtime.transport import Received, Transport
from disco.settings import Limits
from disco.wire import detect
from disco.wire.dialect import Dialect, Encoded

log = logging.getLogger("disco.runtime")


#: Messages above this size are decoded in a worker thread by dialects that have to take weights apart.
THREAD_BYTES = 256 * 1024
#: Messages up to this size may be handled at once, between those of others.
AT_ONCE_BYTES = 64 * 1024
#: Seconds that a client which is sent away has to take what waits for it, and the reason.
FAREWELL_SECONDS = 5.0


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
        pace: Callable[[float], float] | None = None,
    ) -> None:
        """Prepare to serve an accepted WebSocket.

        Args:
            transport: the WebSocket.
            coordinator: whose task the client asked for.
            scheme: which of the task's schemes.
            limits: the operator's.
            allow: tells whether one more message may come now (seconds of Trio's clock); None for no limit.
            release: called when a message has been handled and its bytes are free again.
            pace: tells, at every message, for how many seconds not to read the next; None for no pause.
        """
        self._transport = transport
        self._coordinator = coordinator
        self._scheme = scheme
        self._limits = limits
        self._allow = allow
        self._release = release
        self._pace = pace
        self._outbox = Outbox(limits.outbox_messages, transport.send_now, self._need_writer)
        self._outbox.defer = coordinator.turn.defer
        self._nursery: trio.Nursery | None = None  # while it is open
        self._writing: trio.CancelScope | None = None  # while there is a writer
        self._cut_at = math.inf  # when a client that was sent away is cut
        self._paced_until = -math.inf  # nothing is handled before
        self._received = Counter()  # bytes

    async def serve(self, participant: ParticipantID | None, dialect: Dialect | None) -> None:
        """Serve until either side closes.

        Args:
            participant: the ID that the client brought or was given; None to make one (a UUID).
            dialect: known from the path, or None to learn it from the first message.
        """
        self._coordinator.outboxes.add(self._outbox)
        try:
            async with trio.open_nursery() as self._nursery:
                self._need_writer()  # it may have been closed already
                try:
                    await self._read(participant, dialect)
                    self._outbox.close(1000, "")
                except DiscoError as error:
                    self._refuse(error)
        finally:
            self._nursery = None
            self._coordinator.outboxes.discard(self._outbox)

    def send_away(self, objection: DiscoError) -> None:
        """Read nothing more from now on, and close with an error's code and sentence; does not wait.

        What was contributed before counts. A client that does not take the reason within `FAREWELL_SECONDS` is cut.
        """
        if self._nursery is None or self._cut_at < math.inf:
            return
        self._cut_at = trio.current_time() + FAREWELL_SECONDS
        if self._writing is not None:
            self._writing.deadline, self._writing.shield = self._cut_at, True
        self._refuse(objection)
        self._nursery.cancel_scope.cancel()

    def _refuse(self, error: DiscoError) -> None:
        log.warning("task=%s connection refused: %s", self._coordinator.task, error)
        self._outbox.close(error.close_code, str(error))

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
        self._coordinator.require(dialect)
        line = Line(participant or ParticipantID(str(uuid.uuid4())), dialect, dialect.FORM, self._outbox)
        self._coordinator.attach(line)
        self._received = self._coordinator.metrics.counter(
            "received_bytes", task=self._coordinator.task, dialect=dialect.NAME
        )
        at_once = partial(self._handle_now, line)
        try:
            while data is not None:
                await self._keep_pace()
                await self._receive(data, line)
                del data  # nothing holds the bytes any more while the next message arrives
                if self._release is not None:
                    self._release()
                await self._keep_pace()
                data = await self._transport.receive(at_once)
        finally:
            self._coordinator.detach(line)

    async def _keep_pace(self) -> None:
        if (pause := self._paced_until - trio.current_time()) > 0:
            await trio.sleep(pause)

    def _handle_now(self, line: Line, data: Received, now: float) -> bool:
        """Handle a small message without waiting if its turn is now; else do nothing, and say so."""
        if len(data) > AT_ONCE_BYTES or now < self._paced_until or not self._coordinator.at_rest:
            return False
        try:
            event, form = line.dialect.decode(data, line.participant, self._scheme, line.form)
        except DiscoError:
            return False  # it is refused where its sender can be told
        if isinstance(event, Joined) or (self._allow is not None and not self._allow(now)):
            return False
        line.form = form
        self._count(data, now)
        self._coordinator.submit_now(event, line, now)
        return True

    def _count(self, data: Received, now: float) -> None:
        self._received.add(len(data))
        if self._pace is not None and (pause := self._pace(now)):
            self._paced_until = now + pause

    async def _receive(self, data: Received, line: Line) -> None:
        self._count(data, trio.current_time())
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
            self._coordinator.rename(line, event.identity)
            event = replace(event, participant=line.participant)
        await self._coordinator.submit(event, line)

    def _need_writer(self) -> None:
        """Start a writer, unless there is one. A connection for which nothing waits has none: most are idle."""
        if self._nursery is not None and self._writing is None and self._outbox.waiting:
            away = self._cut_at < math.inf  # reading is cancelled then, and writing is not
            self._writing = trio.CancelScope(deadline=self._cut_at, shield=away)
            self._nursery.start_soon(self._write, self._writing, self._nursery.cancel_scope)

    async def _write(self, writing: trio.CancelScope, connection: trio.CancelScope) -> None:
        """Write what the outbox holds."""
        with writing:
            while (item := self._outbox.take()) is not None:
                if not await self._sent(item):
                    connection.cancel()
                    break
        if writing.cancelled_caught:
            connection.cancel()
        self._writing = None

    async def _sent(self, item: Encoded | Rest | Farewell) -> bool:
        """Send, or close; tell whether the connection goes on."""
        with trio.move_on_after(self._limits.send) as patience:
            if isinstance(item, Farewell):
                await self._transport.close(item.code, item.reason)
                return False
            await (self._transport.flush() if item is Rest.REST else self._transport.send(item))
        if patience.cancelled_caught:
            log.warning(
                "task=%s a reader took nothing for limits.send, %g s, and is let go",
                self._coordinator.task,
                self._limits.send,
            )
        return not patience.cancelled_caught
