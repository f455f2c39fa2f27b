"""What ``disco doctor --server`` looks at from outside: the way to a server, through whatever proxy is before it."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import HTTPException
from typing import Any

import trio
import wsproto
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
)

from disco.cli.findings import Finding, fine, warning, wrong
from disco.participant.address import Address
from disco.web.answers import disco_version

#: Seconds that anything may take.
PATIENCE_SECONDS = 10.0
#: Seconds between two clocks that nobody minds, and that break certificates and times of rounds.
SMALL_SKEW, LARGE_SKEW = 2.0, 60.0
PROXY_ADVICE = (
    "let the proxy pass the upgrade on; for nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    'proxy_set_header Connection "upgrade"; proxy_read_timeout 300s;'
)


def check_server(url: str) -> Iterator[Finding]:
    """Look at a running server: is it Disco, which version, whose clock, and does a WebSocket get through.

    Raises:
        SettingsError: `url` is no address.
    """
    address = Address.parse(url)
    before = time.time()
    try:
        front, headers = _get(address.http(""))
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        yield wrong(
            "server", f"{address} does not answer: {reason}", "check the address, and that the server runs"
        )
        return
    if not (isinstance(front, dict) and front.get("name") == "Disco"):
        advice = "check the address, and the path under which a proxy serves Disco"
        yield wrong("server", f"{address} answers, and is not a Disco server", advice)
        return
    yield check_version(str(front.get("version", "unknown")))
    yield check_clock(headers.get("Date"), (before + time.time()) / 2)
    yield from _check_upgrade(address)


def check_version(theirs: str) -> Finding:
    """Compare the server's version with our own."""
    ours = disco_version()
    if theirs != ours:
        return warning(
            "server", f"it runs Disco {theirs}, this is {ours}", "use the same version on both ends"
        )
    return fine("server", f"it runs Disco {theirs}, as this is")


def check_clock(date: str | None, now: float) -> Finding:
    """Compare a server's clock with our own.

    Args:
        date: its Date header, which is cut to whole seconds.
        now: our clock halfway between question and answer, in Unix seconds.
    """
    try:
        theirs = parsedate_to_datetime(date or "").timestamp() + 0.5
    except ValueError:
        return warning("clock", "the server's answers have no Date", "let the proxy pass the Date header on")
    skew = theirs - now
    detail = f"the server's clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
    advice = "synchronise both clocks: `timedatectl set-ntp true`"
    if abs(skew) > LARGE_SKEW:
        return wrong("clock", detail, advice)
    return warning("clock", detail, advice) if abs(skew) > SMALL_SKEW else fine("clock", "the clocks agree")


def _check_upgrade(address: Address) -> Iterator[Finding]:
    """Open a WebSocket for the first task that the server lists."""
    try:
        tasks, _ = _get(address.http("tasks"))
        path = address.path(socket_path(tasks[0]))
    except (OSError, HTTPException) as error:
        yield wrong("tasks", f"GET /tasks fails: {error}", "look into the server's log")
        return
    except (ValueError, LookupError, TypeError):
        yield warning("WebSocket", "the server has no task to open one for", "add a task: `disco tasks add`")
        return
    yield trio.run(partial(check_websocket, address, path))


def socket_path(task: dict[str, Any]) -> str:
    """Return the path of a task's WebSocket, in a scheme in which it is open."""
    session = task.get("session")
    schemes = session.get("schemes") if isinstance(session, dict) else None
    scheme = schemes[0] if schemes else "federated"
    return f"{str(scheme).lower()}/{task['id']}"


async def check_websocket(address: Address, path: str) -> Finding:
    """Upgrade, ping, and leave. Who has not said hello is no participant: the training does not notice.

    Args:
        address: the server's.
        path: absolute.
    """
    try:
        with trio.fail_after(PATIENCE_SECONDS):
            async with await _connect(address) as stream:
                return await _ping(stream, address, path)
    except trio.TooSlowError:
        detail = f"no answer within {PATIENCE_SECONDS:g} s"
    except (OSError, ssl.SSLError, trio.BrokenResourceError, wsproto.utilities.ProtocolError) as error:
        detail = f"{type(error.__cause__ or error).__name__}: {error.__cause__ or error}"
    return wrong("WebSocket", f"{path} does not open: {detail}", PROXY_ADVICE)


async def _connect(address: Address) -> trio.abc.Stream:
    if address.secure:
        return await trio.open_ssl_over_tcp_stream(address.host, address.port, https_compatible=True)
    return await trio.open_tcp_stream(address.host, address.port)


async def _ping(stream: trio.abc.Stream, address: Address, path: str) -> Finding:
    socket = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    await stream.send_all(socket.send(Request(host=address.authority, target=path)))
    began = trio.current_time()
    status, body = 0, b""
    while True:
        data = await stream.receive_some()
        socket.receive_data(bytes(data) or None)
        for event in socket.events():
            match event:
                case AcceptConnection():
                    began = trio.current_time()
                    await stream.send_all(socket.send(Ping(payload=b"disco doctor")))
                case Pong():
                    milliseconds = (trio.current_time() - began) * 1000
                    await stream.send_all(socket.send(CloseConnection(code=1000)))
                    return fine("WebSocket", f"{path} opens, and answers a ping within {milliseconds:.1f} ms")
                case RejectConnection():
                    status = event.status_code
                    if not event.has_body:
                        return _rejected(path, status, body)
                case RejectData():
                    body += event.data
                    if event.body_finished:
                        return _rejected(path, status, body)
                case CloseConnection():
                    detail = f"{path} opens, and is closed with {event.code}: {event.reason or 'no reason'}"
                    return wrong("WebSocket", detail, PROXY_ADVICE)
        if not data:
            return _rejected(path, status, body)


def _rejected(path: str, status: int, body: bytes) -> Finding:
    """Say what came in place of an upgrade. A refusal in JSON is Disco's own, and passed the proxy."""
    try:
        reason = str(json.loads(body)["error"])
    except (ValueError, LookupError, TypeError):
        answer = f"was answered with {status} where 101 was due" if status else "ended before it was answered"
        return wrong("WebSocket", f"the upgrade of {path} {answer}", PROXY_ADVICE)
    return wrong("WebSocket", f"the upgrade of {path} was refused: {reason}", "look into the server's log")


def _get(url: str) -> tuple[Any, Message]:
    asked = urllib.request.Request(url, headers={"Accept": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE_SECONDS) as answer:
            return _json(answer.read()), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return _json(error.read()), error.headers


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
