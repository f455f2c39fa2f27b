"""What the tests of the dashboard's server side share."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import h11
import httpx
import numpy as np
import trio

from tests.conftest import TINY, Server
from tests.web.clients import Arrays, Client, packed

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PATIENCE = 10.0


async def get(server: Server, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url) as client:
        return await client.get(path, headers=headers)


async def post(server: Server, path: str, body: Any = None, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url) as client:
        return await client.post(path, json=body, headers=headers)


def update(value: float) -> Arrays:
    """An update for the tiny task, every parameter the same."""
    return [np.full(shape, value, np.float32) for shape in ((2, 3), (3,), (3, 1), (1,))]


async def contribute(participant: Client, value: float, round_: int) -> None:
    await participant.say(type="SendPayload", payload=packed(update(value)), round=round_)


async def hear(participant: Client, kind: str) -> dict[str, Any]:
    """Return the next message of a type, passing over others."""
    while (message := await participant.hear())["type"] != kind:
        pass
    return message


async def train_round(participants: Sequence[Client], value: float, round_: int) -> None:
    """Have everybody contribute, and wait until everybody has the result."""
    for participant in participants:
        await contribute(participant, value, round_)
    for participant in participants:
        await hear(participant, "ReceiveServerPayload")


def decentralized_tiny(folder: Path) -> Path:
    """A folder of tasks that holds the tiny one, for peers instead of participants; three of them make a round."""
    copy = shutil.copytree(TINY / "tiny", folder / "tasks" / "tiny")
    task = copy / "task.toml"
    task.write_text(task.read_text().replace('scheme = "federated"', 'scheme = "decentralized"'))
    return folder / "tasks"


class Events:
    """A stream of server-sent events."""

    def __init__(self, stream: trio.SocketStream, parser: h11.Connection) -> None:
        self._stream, self._parser = stream, parser
        self._text = ""

    async def read(self) -> h11.Response | h11.Data | h11.EndOfMessage:
        """Return the next part of the answer."""
        while True:
            event = self._parser.next_event()
            if isinstance(event, h11.Response | h11.Data | h11.EndOfMessage):
                return event
            self._parser.receive_data(await self._stream.receive_some())

    async def state(self) -> Any:
        """Return the next state; None when the server has ended the stream."""
        with trio.fail_after(PATIENCE):
            while True:
                event, found, rest = self._text.partition("\n\n")
                if found:
                    self._text = rest
                    if "\ndata: " in event:
                        return json.loads(event.partition("\ndata: ")[2])
                    continue
                part = await self.read()
                if isinstance(part, h11.EndOfMessage):
                    return None
                assert isinstance(part, h11.Data)
                self._text += bytes(part.data).decode()

    async def until(self, holds: Any) -> Any:
        """Return the first state of which `holds` is true."""
        while not holds(state := await self.state()):
            pass
        return state


@asynccontextmanager
async def watching(server: Server, path: str) -> AsyncIterator[Events]:
    host = server.url.removeprefix("http://").rstrip("/")
    name, port = host.split(":")
    async with await trio.open_tcp_stream(name, int(port)) as stream:
        parser = h11.Connection(h11.CLIENT)
        ask = h11.Request(
            method="GET", target=path, headers=[("Host", host), ("Accept", "text/event-stream")]
        )
        await stream.send_all((parser.send(ask) or b"") + (parser.send(h11.EndOfMessage()) or b""))
        events = Events(stream, parser)
        answer = await events.read()
        assert isinstance(answer, h11.Response)
        assert dict(answer.headers)[b"content-type"].startswith(b"text/event-stream")
        yield events
