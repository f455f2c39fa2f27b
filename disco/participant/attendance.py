"""Keeps a participant connected: joins, listens, says what there is to say, and comes back when it was lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import trio

from disco.core.events import Contributed, Event, Joined, ModelRequested, StatisticsRequested
from disco.core.messages import GlobalModel, Message, Statistics, Welcome
from disco.core.names import Scheme, TaskID
from disco.errors import ConnectionLost, DiscoError, Refused
from disco.participant.address import Address
from disco.participant.connection import Connection, Deadlines, open_connection
from disco.participant.http import MODEL_SECONDS, fetch_weights
from disco.participant.retries import Retries
from disco.participant.scope import background
from disco.participant.standing import News, NewsKind, Outstanding, Standing

log = logging.getLogger("disco.participant")

#: Seconds between two questions of a participant that is pushed nothing: at first, and at most.
FIRST_POLL, LONGEST_POLL = 0.05, 1.0
#: Messages above this are written and read in a worker thread.
THREAD_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where to take part.

    Args:
        deadlines: how long the server may take.
        patience: seconds during which a lost connection is tried again.
    """

    address: Address
    task: TaskID
    deadlines: Deadlines
    patience: float


class Attendance:
    """One participant's presence in its task. `run` is its task; `standing` is what it has learned.

    Args:
        place: where.
        standing: what is known, and the contribution to send.
        on_news: is called with what happens.
    """

    def __init__(self, place: Place, standing: Standing, on_news: Callable[[News], None] | None) -> None:
        """Prepare; `run` connects."""
        self._place = place
        self._standing = standing
        self._habits = standing.habits
        self._on_news = on_news
        self._bell = trio.Event()
        self.failure: DiscoError | None = None

    async def changed(self) -> None:
        """Wait until something is new: in `standing`, or `failure`."""
        await self._bell.wait()

    def ring(self) -> None:
        """Wake whoever waits for something to change."""
        self._bell.set()
        self._bell = trio.Event()

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Connect, and connect again until patience ends; then `failure` says why.

        Raises:
            ConnectionLost: the first time, no server answers.
            Refused: the first time, the server refuses.
        """
        retries = Retries(self._place.patience)
        joined = False
        while True:
            greeted_at: float | None = None
            try:
                async with open_connection(
                    self._place.address, self._path(), self._place.deadlines
                ) as connection:
                    await self._greet(connection)
                    greeted_at = trio.current_time()
                    if joined:
                        self._reconnected()
                    else:
                        joined = True
                        task_status.started()
                    await self._attend(connection)
            except DiscoError as error:
                if not joined:
                    raise
                lasted = trio.current_time() - greeted_at if greeted_at is not None else 0.0
                if not await self._lose(error, retries, lasted):
                    return

    async def _lose(self, error: DiscoError, retries: Retries, lasted: float) -> bool:
        """Say that the connection is gone, and wait before the next try; tell whether there is to be one."""
        if isinstance(error, Refused) and not lasted:
            return self._fail(error)
        self._standing.lose(error if isinstance(error, Refused) else None)
        delay = retries.after_failure(trio.current_time(), lasted)
        if delay is None:
            return self._fail(ConnectionLost(f"{self._place.address} is gone: {error}"))
        log.warning(
            "%s connection lost: %s; trying again in %.1f s", self.name(self._standing.round), error, delay
        )
        self._publish(News(NewsKind.RECONNECTING, self._standing.participants, str(error)))
        self.ring()
        await trio.sleep(delay)
        return True

    def _fail(self, error: DiscoError) -> bool:
        self.failure = error
        self.ring()
        return False

    def _reconnected(self) -> None:
        log.warning("%s connected again", self.name(self._standing.round))
        self._publish(News(NewsKind.RECONNECTED, self._standing.participants))

    async def _greet(self, connection: Connection) -> None:
        """Say hello, and learn the current round and model.

        Raises:
            ConnectionLost: the server does not answer, or goes.
            Refused: it will not have this participant.
        """
        me = self._standing.me
        with trio.move_on_after(self._place.deadlines.answer + MODEL_SECONDS) as patience:
            await self._ask(
                connection, Joined(me, self._habits.dialect.PUSHES, self._standing.identity), Welcome
            )
            if not self._habits.dialect.PUSHES:
                await self._ask(connection, StatisticsRequested(me), Statistics)
                await self._ask(connection, ModelRequested(me), GlobalModel)
            if self._standing.lacks_model:
                self._standing.adopt(
                    *await fetch_weights(self._place.address, self._place.task, self._place.deadlines.answer)
                )
        if patience.cancelled_caught:
            raise ConnectionLost(f"{self._place.address} did not answer hello")
        self.ring()

    async def _ask(self, connection: Connection, event: Event, answer: type[Message]) -> None:
        """Send a question and take messages up to its answer."""
        await connection.send(self.compose(event))
        while True:
            message = await self._receive(connection)
            self._take(message)
            if isinstance(message, answer):
                return

    async def _attend(self, connection: Connection) -> None:
        """Take what the server says, and send what there is to send, until the connection ends."""
        async with background() as nursery:
            nursery.start_soon(self._speak, connection)
            while not self._standing.forgotten:
                self._take(await self._receive(connection))
        raise ConnectionLost("the server has forgotten this participant")

    async def _speak(self, connection: Connection) -> None:
        """Send each contribution, once a connection, and ask about it where the server does not tell."""
        try:
            while True:
                made = self._standing.unresolved
                if made is None:
                    await self._bell.wait()
                else:
                    await self._send(connection, made)
        except (ConnectionLost, Refused) as error:
            # Whoever receives on this connection hears the same, and does what is to be done.
            log.debug("%s cannot send: %s", self.name(self._standing.round), error)

    async def _send(self, connection: Connection, made: Outstanding) -> None:
        made.sent = True
        await connection.send(made.message)
        delay = FIRST_POLL
        while self._standing.unresolved is made:
            bell = self._bell
            question = self._standing.question()
            if question is not None:
                await connection.send(self.compose(question))
            await bell.wait()
            if question is not None and not self._standing.behind:
                await trio.sleep(delay)
                delay = min(1.5 * delay, LONGEST_POLL)

    async def _receive(self, connection: Connection) -> Message:
        data = await connection.receive()
        parse = self._habits.dialect.parse
        if len(data) > THREAD_BYTES:
            return await trio.to_thread.run_sync(parse, data, Scheme.FEDERATED)
        return parse(data, Scheme.FEDERATED)

    def _take(self, message: Message) -> None:
        for news in self._standing.take(message):
            self._publish(news)
        self.ring()

    # ── small things ─────────────────────────────────────────────────────────────────────────────────────

    def outstanding(self, event: Contributed) -> Outstanding:
        """Make a contribution ready to be sent."""
        return Outstanding(event.round, event.key or "", self.compose(event))

    def compose(self, event: Event) -> bytes:
        """Write one message of this participant."""
        return self._habits.dialect.compose(event, self._place.task, self._habits.form)

    def _path(self) -> str:
        """Return where the WebSocket is; a v2 participant brings its ID."""
        path = f"federated/{quote(self._place.task, safe='')}"
        return path if self._habits.dialect.PUSHES else f"{path}/{self._standing.identity}"

    def name(self, round_: int) -> str:
        """Return how log lines begin."""
        return f"task={self._place.task} round={round_} participant={(self._standing.identity or '')[:8]}"

    def _publish(self, news: News) -> None:
        log.debug("%s %s: %s present", self.name(self._standing.round), news.kind, news.participants)
        if self._on_news is not None:
            self._on_news(news)
