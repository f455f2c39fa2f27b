"""Clients of the tests: strict ones, written on trio-websocket and msgpack alone, and raw sockets."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import numpy as np
import trio
from numpy.typing import NDArray
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

Arrays = Sequence[NDArray[np.float32]]
#: Seconds that anything in these tests may take.
PATIENCE = 10.0


def integers(arrays: Arrays) -> list[int]:
    """Encode weights as a v2 client does: the bytes of an inner msgpack, as integers."""
    tensors = [{"shape": list(array.shape), "data": array.reshape(-1).tolist()} for array in arrays]
    return list(msgpack.packb(tensors))


def packed(arrays: Arrays) -> bytes:
    """Encode weights as v3 and v4 clients do."""
    return bytes(
        msgpack.packb(
            [
                {"shape": list(array.shape), "data": msgpack.ExtType(0x17, array.astype("<f4").tobytes())}
                for array in arrays
            ]
        )
    )


def unpacked(payload: Any) -> list[NDArray[np.float32]]:
    """Decode weights in any form that a server may send."""
    inner = msgpack.unpackb(bytes(payload), ext_hook=lambda _, data: np.frombuffer(data, "<f4"))
    return [np.asarray(tensor["data"], np.float32).reshape(tensor["shape"]) for tensor in inner]


class Client:
    """One WebSocket that speaks msgpack maps and fails where a real client would: on text and unknown bytes."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self.socket = socket

    async def say(self, **message: Any) -> None:
        await self.socket.send_message(msgpack.packb(message))

    async def hear(self) -> dict[str, Any]:
        with trio.fail_after(PATIENCE):
            message = await self.socket.get_message()
        assert isinstance(message, bytes), "a text frame kills real clients"
        decoded = msgpack.unpackb(message)
        assert isinstance(decoded, dict)
        return decoded

    async def hear_type(self, kind: str | int) -> dict[str, Any]:
        """Return the next message of a type, passing over others."""
        while True:
            message = await self.hear()
            if message["type"] == kind:
                return message

    async def ask(self, **message: Any) -> dict[str, Any]:
        """Say something and return the next message of the same type, as v2 clients do."""
        await self.say(**message)
        return await self.hear_type(message["type"])

    async def goodbye(self) -> tuple[int, str]:
        """Return the code and reason with which the server closes, passing over messages before that."""
        with trio.fail_after(PATIENCE):
            while True:
                try:
                    await self.socket.get_message()
                except ConnectionClosed as closed:
                    reason = closed.reason
                    return (reason.code, reason.reason or "") if reason is not None else (1006, "")


@asynccontextmanager
async def connected(url: str, token: str | None = None) -> AsyncIterator[Client]:
    # On a stream of our own: trio-websocket leaves its own open when a server refuses or closes first.
    host, _, resource = url.removeprefix("ws://").partition("/")
    name, port = host.split(":")
    stream = await trio.open_tcp_stream(name, int(port))
    headers = [] if token is None else [(b"Authorization", f"Bearer {token}".encode())]
    try:
        async with trio.open_nursery() as nursery:
            socket = await wrap_client_stream(
                nursery, stream, host, f"/{resource}", extra_headers=headers, max_message_size=2**30
            )
            try:
                yield Client(socket)
            finally:
                await socket.aclose()
    finally:
        await trio.aclose_forcefully(stream)


@asynccontextmanager
async def v2(ws: str, task: str = "tiny", client: str | None = None) -> AsyncIterator[Client]:
    """A v2 participant that has said hello."""
    async with connected(f"{ws}/feai/{task}/{client or uuid.uuid4()}") as participant:
        assert await participant.ask(type=0) == {"type": 0}
        yield participant


@asynccontextmanager
async def v4(ws: str, task: str = "tiny") -> AsyncIterator[Client]:
    """A v4 participant that has said hello."""
    async with connected(f"{ws}/federated/{task}") as participant:
        await participant.say(type="ClientConnected")
        first = await participant.hear()
        assert first["type"] == "NewFederatedNodeInfo"
        yield participant


@asynccontextmanager
async def peer(ws: str, task: str = "tiny") -> AsyncIterator[Client]:
    """A v4 peer that has said hello to the hub."""
    async with connected(f"{ws}/decentralized/{task}") as participant:
        await participant.say(type="ClientConnected")
        first = await participant.hear()
        assert first["type"] == "NewDecentralizedNodeInfo"
        yield participant


async def post(participant: Client, arrays: Arrays, round_: int) -> None:
    """Contribute as a v2 client, and wait until the server has seen it."""
    await participant.say(type=8, weights=integers(arrays), round=round_)
    await participant.ask(type=13)


async def upgrade(url: str, headers: str = "") -> tuple[int, str]:
    """Ask for a WebSocket in plain HTTP; return the status, and the body if it is refused."""
    host, _, resource = url.removeprefix("ws://").partition("/")
    name, port = host.split(":")
    async with await trio.open_tcp_stream(name, int(port)) as stream:
        await stream.send_all(
            f"GET /{resource} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n".encode()
        )
        received = b""
        with trio.fail_after(PATIENCE):
            while b"\r\n\r\n" not in received or (b" 101 " not in received and b"}" not in received):
                more = await stream.receive_some()
                if not more:
                    break
                received += more
        head, _, body = received.decode().partition("\r\n\r\n")
        return int(head.split()[1]), body
