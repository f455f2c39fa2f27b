"""Runs the app on hypercorn's Trio server, in this process."""

from __future__ import annotations

import errno
import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio import serve as serve_app

from disco.app import Disco, create_app
from disco.errors import SettingsError
from disco.settings import Settings
from disco.storage.catalogue import TaskProvider

log = logging.getLogger("disco")


def hypercorn_config(settings: Settings) -> Config:
    """Return hypercorn's configuration for these settings."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    config = Config()
    config.bind = [f"{host}:{settings.port}"]
    tls = settings.tls
    for name in ("certfile", "keyfile", "ca_certs"):
        if (path := getattr(tls, name)) is not None:
            setattr(config, name, str(path))
    if tls.ca_certs is not None:
        config.verify_mode = ssl.VerifyMode.CERT_REQUIRED
    config.backlog = 1024  # hypercorn's 100 refuses a class of browsers that connect in one second
    config.max_app_queue_size = 1  # back-pressure counts messages, and ours may be large
    config.websocket_max_message_size = settings.limits.message_bytes
    config.graceful_timeout = settings.graceful / 2
    config.shutdown_timeout = settings.graceful
    config.startup_timeout = 600.0  # many tasks with large models take their time to load
    config.alpn_protocols = ["http/1.1"]
    config.include_server_header = False
    config.errorlog = logging.getLogger("disco.hypercorn")
    config.errorlog.setLevel(max(logging.WARNING, log.getEffectiveLevel()))
    return config


@asynccontextmanager
async def running(
    settings: Settings, providers: Sequence[TaskProvider] = ()
) -> AsyncIterator[tuple[Disco, str]]:
    """Run a server for the length of a block; yields the app and its URL.

    At the end, connections are closed with 1001 and a reason; stopping takes at most `settings.graceful` seconds.

    Raises:
        SettingsError: the address cannot be bound.
        StorageError: the data directory cannot be used.
    """
    app = create_app(settings, providers)
    stop = trio.Event()

    async def stopping() -> None:
        await stop.wait()
        app.close_connections(1001, "the server is stopping")
        with trio.move_on_after(settings.graceful / 2):
            await app.lobby.empty()

    try:
        async with trio.open_nursery() as nursery:
            start = partial(serve_app, app, hypercorn_config(settings), shutdown_trigger=stopping)
            try:
                urls = await nursery.start(start)
            except (BaseExceptionGroup, Exception) as error:
                raise (_reason(error, app, settings) or error) from None
            # hypercorn may say that it listens although the app could not start; it stops right after that.
            if app.failure is not None:
                raise app.failure
            try:
                yield app, str(urls[0])
            finally:
                stop.set()
    except BaseExceptionGroup:
        if app.failure is not None:
            raise app.failure from None
        raise


def _reason(error: BaseException, app: Disco, settings: Settings) -> Exception | None:
    """Find what kept the server from starting, in a sentence for its operator."""
    if app.failure is not None:
        return app.failure
    for cause in _leaves(error):
        if isinstance(cause, OSError):
            taken = cause.errno == errno.EADDRINUSE
            hint = (
                "it is in use: stop what uses it, or choose another with --port" if taken else cause.strerror
            )
            return SettingsError(f"cannot listen on {settings.host} port {settings.port}: {hint}")
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
