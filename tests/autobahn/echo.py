"""An ASGI app that sends every message back, on Disco's WebSocket layer."""

from __future__ import annotations

from typing import Any

import trio

from benchmarks.echo import send_back
from disco.runtime.poll import AVAILABLE, Poll
from disco.web.hypercorn_seam import EXTENSION

#: The suite's largest message, 16 MiB, and room for more.
LIMIT_BYTES = 64 * 1024 * 1024


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Serve one connection, or the lifespan."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await receive()
    async with trio.open_nursery() as nursery:
        poll = Poll() if AVAILABLE else None
        if poll is not None:
            nursery.start_soon(poll.run)
        await send_back(await scope["extensions"][EXTENSION].accept(limit_bytes=LIMIT_BYTES, poll=poll))
        nursery.cancel_scope.cancel()
