"""The app: where the parts are joined.

    hypercorn disco.app:app

Importing reads settings only. The data directory is opened, and training begins, when the server starts.
"""

from __future__ import annotations

import gc
import itertools
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import trio
from quart_trio import QuartTrio

from disco.core.submission import Submission
from disco.errors import DiscoError
from disco.learning.held_out import with_held_out
from disco.metrics import Metrics
from disco.runtime.budget import Budget
from disco.runtime.directory import Directory
from disco.runtime.keeper import Keeper
from disco.runtime.poll import AVAILABLE, Poll
from disco.runtime.tracing import configured_tracer
from disco.settings import Settings
from disco.storage.catalogue import TaskProvider, from_provider, load_folder
from disco.storage.contract import Store
from disco.storage.memory import MemoryStore
from disco.storage.sqlite import SqliteStore
from disco.web import (
    answers,
    asyncio_worker,
    downloads,
    gatekeeping,
    hypercorn_seam,
    manage,
    observe,
    openapi,
    pages,
    stream,
)
from disco.web import tasks as task_routes
from disco.web.access import Gate
from disco.web.door import Door
from disco.web.guests import Guests
from disco.web.http_edge import HttpEdge
from disco.web.sockets import Lobby, WebsocketEdge

log = logging.getLogger("disco")

#: When Python looks for garbage in cycles. Its own 700, 10 and 10 are soon reached by a hundred objects a participant,
#: and then it looks at all of them: with these, 10,000 WebSockets open half as fast again.
GARBAGE_THRESHOLDS = (10_000, 20, 20)


class Disco(QuartTrio):
    """The server as a Quart-Trio app: routes, and the nursery in which every task's loops live."""

    asgi_http_class = HttpEdge
    asgi_websocket_class = WebsocketEdge  # type: ignore[assignment]  # called with (app, scope), as Quart's own is

    lobby: Lobby

    def __init__(self, settings: Settings, providers: Sequence[TaskProvider]) -> None:
        """Make an app that has not started."""
        super().__init__("disco", static_folder=None)
        self.settings = settings
        self.metrics = Metrics()
        self.broken: list[tuple[str, str]] = []
        self.failure: DiscoError | None = None
        self._providers = providers
        self._keeper: Keeper | None = None
        self._loops: trio.CancelScope | None = None
        self._thresholds = gc.get_threshold()
        self.config["MAX_CONTENT_LENGTH"] = settings.limits.body_bytes
        self.config["BODY_TIMEOUT"] = settings.limits.body_seconds
        self.config["RESPONSE_TIMEOUT"] = None  # a slow reader of a large model is hypercorn's to bound
        self.config["BACKGROUND_TASK_SHUTDOWN_TIMEOUT"] = settings.graceful
        for part in (task_routes, downloads, manage, observe, pages, stream, openapi):
            self.register_blueprint(part.blueprint)
        self.extensions["disco.viewers"] = stream.Viewers(settings.limits.viewers)
        self.gate = Gate(settings)
        gatekeeping.install(self, self.gate)
        answers.install(self, settings)
        self.before_serving(self._open)
        self.after_serving(self._close)

    @property
    def directory(self) -> Directory:
        """The tasks that are served; there once the app has started."""
        found: Directory = self.extensions["disco.directory"]
        return found

    async def _open(self) -> None:
        """Take the data directory and start every task's loops."""
        gc.set_threshold(*GARBAGE_THRESHOLDS)
        try:
            store = await trio.to_thread.run_sync(self._open_store)
            self._keeper = Keeper(store, self.metrics)
            await self._start_tasks(self._keeper)
        except BaseException as error:
            self.failure = error if isinstance(error, DiscoError) else None
            await self._close()
            raise

    def _open_store(self) -> Store:
        kept = self.settings.storage
        if not kept.durable:
            return MemoryStore(kept.keep_last, kept.keep_every)
        return SqliteStore(self.settings.data_dir, keep_last=kept.keep_last, keep_every=kept.keep_every)

    async def _start_tasks(self, keeper: Keeper) -> None:
        found = await trio.to_thread.run_sync(load_folder, self.settings.tasks_dir)
        given: list[tuple[Submission, str]] = [(submission, "folder") for submission in found.tasks]
        given += [(from_provider(provider), "provider") for provider in self._providers]
        given, unfit = await trio.to_thread.run_sync(with_held_out, given)
        self.broken = [*found.broken, *unfit]
        nursery = await self.nursery.start(self._hold_loops)
        directory = Directory(self.settings, keeper, self.metrics, nursery)
        directory.tracer = configured_tracer()
        self.broken += [(str(task), str(error)) for task, error in await directory.open(given)]
        for name, problem in self.broken:
            log.error("task=%s is not served: %s", name, problem)
        self.extensions["disco.directory"] = directory
        self.lobby = Lobby(
            directory,
            self.settings,
            itertools.count(),
            Budget(self.settings.limits.bytes_in_flight),
            self.gate,
            Door(self.settings.limits),
            nursery,
            Guests(self.gate, self.settings.access.recheck_seconds),
            Poll(directory.turn) if AVAILABLE else None,
        )
        if self.lobby.poll is not None:
            nursery.start_soon(self.lobby.poll.run)
        nursery.start_soon(self.lobby.watched.watch)
        log.info("access: %s", self.gate.describe())
        observe.watch(self)

    async def _hold_loops(self, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """Own the nursery of every task's loops until `_close`."""
        async with trio.open_nursery() as nursery:
            self._loops = nursery.cancel_scope
            task_status.started(nursery)
            await trio.sleep_forever()

    def counted(self, address: str) -> AbstractContextManager[None]:
        """Count a TCP connection from an address, for as long as a block lasts.

        Raises:
            TooMany: (on entering) there are too many of its address.
        """
        exempt = self.gate.is_proxy(address)
        return nullcontext() if exempt else self.lobby.door.connected(address)

    def log_exception(self, exception_info: Any) -> None:
        """See the base class; of an error that Disco raises on purpose, such as a full disk, its sentence will do."""
        if isinstance(exception_info[1], DiscoError):
            log.error("%s", exception_info[1])
        else:
            super().log_exception(exception_info)

    def close_connections(self, code: int, reason: str) -> None:
        """Ask every WebSocket to close, after what waits for it has been sent."""
        if "disco.directory" in self.extensions:
            self.directory.close_all(code, reason)

    async def _close(self) -> None:
        """Say goodbye, stop the loops, finish what is being written, and let go of the data directory."""
        if self._loops is not None and "disco.directory" in self.extensions:
            self.close_connections(1001, "the server is stopping")
            with trio.move_on_after(self.settings.graceful / 2):
                await self.lobby.empty()
        if self._loops is not None:
            self._loops.cancel()
        if self._keeper is not None:
            await self._keeper.close()
        gc.set_threshold(*self._thresholds)


def create_app(settings: Settings | None = None, tasks: Sequence[TaskProvider] = ()) -> Disco:
    """Make the server's app.

    Args:
        settings: from the environment if None.
        tasks: providers of further tasks, beside those in the tasks folder and in the data directory.

    Raises:
        SettingsError: the environment has a value that cannot be used.
    """
    return Disco(settings or Settings.load(), tasks)


asyncio_worker.hand_over_to_trio()
hypercorn_seam.install()
app = create_app()

__all__ = ["Disco", "DiscoError", "app", "create_app"]
