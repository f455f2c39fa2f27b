"""Sending with an end: hypercorn shields what it sends from cancellation, for as long as the reader likes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

log = logging.getLogger("disco.web")


async def send_or_cut(send: Callable[[], Awaitable[None]], stream: trio.abc.Stream, seconds: float) -> None:
    """Send, or close the connection: after so many seconds, or when this is cancelled meanwhile."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cut_after, seconds, stream, sent := trio.Event())
        await send()
        sent.set()
        nursery.cancel_scope.cancel()


async def _cut_after(seconds: float, stream: trio.abc.Stream, sent: trio.Event) -> None:
    try:
        await trio.sleep(seconds)
        log.warning("a reader took nothing for limits.send, %g s, and is let go", seconds)
    finally:
        if not sent.is_set():
            await trio.aclose_forcefully(stream)
