"""Plain HTTP requests to a server of the tests, and tokens for it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import trio

from disco.core.access import ID_BYTES, SECRET_BYTES, Role, Wish, mint
from disco.settings import Settings
from disco.storage.tokens import TokenFile
from tests.web.clients import PATIENCE


@dataclass(frozen=True)
class Answer:
    """What came back; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    url: str, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one request over a connection of its own."""
    host, _, path = url.partition("://")[2].partition("/")
    name, port = host.rsplit(":", 1)
    lines = {"Host": host, "Content-Length": str(len(body)), "Connection": "close"}
    lines |= headers or {}
    head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
    async with await trio.open_tcp_stream(name, int(port)) as stream:
        await stream.send_all(f"{method} /{path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        received = b""
        with trio.fail_after(PATIENCE):
            async for more in stream:
                received += more
    top, _, rest = received.partition(b"\r\n\r\n")
    first, *others = top.decode().split("\r\n")
    parsed = {key.lower(): value for key, value in (line.split(": ", 1) for line in others)}
    return Answer(int(first.split()[1]), parsed, rest)


def token_for(settings: Settings, role: Role, *tasks: str, expires_at: float = float("inf")) -> str:
    """Make a token on a server's data directory, as `disco tokens create` does."""
    wish = Wish(role, frozenset(tasks) or None, expires_at)
    text, token = mint(wish, os.urandom(ID_BYTES + SECRET_BYTES), 0.0)
    with TokenFile(settings.data_dir).changing() as tokens:
        tokens.append(token)
    return text


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
