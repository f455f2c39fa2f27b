"""What a server does that sends every message back, on Disco's WebSocket layer."""

from __future__ import annotations

from disco.runtime.fast_websocket import FastWebSocket
from disco.runtime.transport import Received, Sent


async def send_back(websocket: FastWebSocket) -> None:
    """Send back what comes, as much of it as possible without waiting, until the other side is gone."""
    begun = False

    def at_once(data: Received, now: float) -> bool:
        nonlocal begun
        sent = websocket.send_now(data)
        begun = sent is Sent.PART
        return sent is Sent.ALL

    while (message := await websocket.receive_message(at_once)) is not None:
        if begun:
            await websocket.flush()
            begun = False
        else:
            await websocket.send(message.data, text=message.text)
