"""An ASGI app that sends every message back, on Disco's WebSocket layer."""

from __future__ import annotations

from typing import Any

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
    websocket = await scope["extensions"][EXTENSION].accept(limit_bytes=LIMIT_BYTES)
    while (message := await websocket.receive_message()) is not None:
        await websocket.send(message.data, text=message.text)
