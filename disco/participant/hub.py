"""The signalling server as one peer sees it: a WebSocket that says who is in the round."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import quote

import trio

from disco.core.events import Event, Joined
from disco.core.messages import Message, PeerWelcome
from disco.core.names import ParticipantID, Scheme, TaskID
from disco.errors import ConnectionLost, DiscoError
from disco.participant.address import Address
from disco.participant.connection import Connection, Deadlines, open_connection
from disco.wire.dialect import Dialect

logger = logging.getLogger("disco.participant")

#: Messages that wait for the round to take them; each round has a handful, and each join or leave has one.
WAITING_MESSAGES = 1024


class Hub:
    """A connected hub; from `open_hub`."""

    def __init__(self, connection: Connection, dialect: Dialect, task: TaskID) -> None:
        self._connection = connection
        self._dialect = dialect
        self._task = task
        self._end: DiscoError = ConnectionLost("the hub is gone")
        self._heard_in, self._heard = trio.open_memory_channel[Message](WAITING_MESSAGES)

    async def send(self, event: Event) -> None:
        """Say something to the hub.

        Raises:
            ConnectionLost: it is gone, or reads nothing.
            Refused: it closed the connection with a reason that blames us.
        """
        await self._connection.send(self._dialect.compose(event, self._task, self._dialect.FORM))

    async def expect(self, *kinds: type[Message]) -> Message:
        """Return the next message of one of these kinds; others are passed over.

        Raises:
            ConnectionLost: the hub is gone.
            Refused: it closed the connection with a reason that blames us.
            MalformedMessage: it said something that is no message.
        """
        while True:
            try:
                message = await self._heard.receive()
            except trio.EndOfChannel:
                raise self._end from None
            if isinstance(message, kinds):
                return message
            logger.debug("%s passed over", type(message).__name__)

    def waiting(self, kind: type[Message]) -> Message | None:
        """Return the next message of a kind if it is here already, and pass over those before it."""
        try:
            while not isinstance(message := self._heard.receive_nowait(), kind):
                logger.debug("%s passed over", type(message).__name__)
        except (trio.WouldBlock, trio.EndOfChannel):
            return None
        return message

    async def join(self, seconds: float) -> ParticipantID:
        """Say hello and return the ID that the hub gives us within so many seconds.

        Raises:
            ConnectionLost: the hub closed instead, or does not answer in time.
            Refused: it closed with a reason that blames us.
        """
        with trio.move_on_after(seconds):
            await self.send(Joined(ParticipantID("")))
            return cast("PeerWelcome", await self.expect(PeerWelcome)).participant
        raise ConnectionLost(f"the hub did not answer within {seconds:g} s")

    async def run(self, take: Callable[[Message], bool]) -> None:
        """Read until the hub is gone.

        Args:
            take: is shown every message in order, before the next one is read; False leaves it for `expect`.
        """
        try:
            while True:
                message = self._dialect.parse(await self._connection.receive(), Scheme.DECENTRALIZED)
                if not take(message):
                    self._heard_in.send_nowait(message)
        except DiscoError as error:
            self._end = error
        except trio.WouldBlock:
            self._end = ConnectionLost(f"the hub sent {WAITING_MESSAGES} messages that nobody asked for")
        finally:
            self._heard_in.close()


@asynccontextmanager
async def open_hub(address: Address, task: TaskID, dialect: Dialect, seconds: float) -> AsyncIterator[Hub]:
    """Connect to a task's hub; the connection is closed at the end of the block.

    Args:
        address: the server's.
        task: the task's ID.
        dialect: the generation of peers to meet.
        seconds: that each answer of the server may take.

    Raises:
        ConnectionLost: the server cannot be reached.
        Refused: it refused, with its reason.
    """
    path = f"decentralized/{quote(task, safe='')}"
    if dialect.NAME == "v2":
        path += f"/{uuid.uuid4()}"  # its clients bring a name of their own, which the hub's number replaces
    deadlines = Deadlines(answer=seconds)
    async with open_connection(address, path, deadlines) as connection:
        yield Hub(connection, dialect, task)
