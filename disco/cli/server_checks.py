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
from disco.participant.credentials import distrust
from disco.participant.http import ask
from disco.web.answers import disco_version

#: Seconds that anything may take.
PATIENCE_SECONDS = 10.0
#: Seconds between two clocks that nobody minds, and that break certificates and times of rounds.
SMALL_SKEW, LARGE_SKEW = 2.0, 60.0
PROXY_ADVICE = (
    "let the proxy pass the upgrade on; for nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    'proxy_set_header Connection "upgrade"; proxy_read_timeout 300s;'
)

TOKEN_ADVICE = (
    "put a token of this server's into DISCO_TOKEN, or name a file of it with --token-file; "
    "`disco tokens create` makes one"
)
CERTIFICATE_ADVICE = (
    "name the server's authority with --ca and your own certificate with --cert, or give the server a certificate for "
    "this name"
)


def check_server(address: Address) -> Iterator[Finding]:
    """Look at a running server: is it Disco, which version, whose clock, and does a WebSocket get through."""
    before = time.time()
    try:
        _, front, headers = _get(address, "")
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if (why := distrust(error, address)) is not None:
            yield wrong("server", why, CERTIFICATE_ADVICE)
            return
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
        status, tasks, _ = _get(address, "tasks")
        if status in (401, 403):
            yield refused_token(status, str(tasks["error"]))
            return
        path = address.path(socket_path(tasks[0]))
    except (OSError, HTTPException) as error:
        yield wrong("tasks", f"GET /tasks fails: {error}", "look into the server's log")
        return
    except (ValueError, LookupError, TypeError):
        yield warning("WebSocket", "the server has no task to open one for", "add a task: `disco tasks add`")
        return
    yield trio.run(partial(check_websocket, address, path))


def refused_token(status: int, reason: str) -> Finding:
    """Say what a server makes of the token that it was shown, or of none."""
    if status == 401:
        return wrong("token", f"401: {reason}", TOKEN_ADVICE)
    return wrong("token", f"403: {reason}", "ask for a token of another role, or for another task")


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
        context = address.credentials.context()
        return await trio.open_ssl_over_tcp_stream(
            address.host, address.port, https_compatible=True, ssl_context=context
        )
    return await trio.open_tcp_stream(address.host, address.port)


async def _ping(stream: trio.abc.Stream, address: Address, path: str) -> Finding:
    socket = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    headers = [(name.encode(), value.encode()) for name, value in address.credentials.headers.items()]
    await stream.send_all(socket.send(Request(address.authority, path, extra_headers=headers)))
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
    if status in (401, 403):
        return refused_token(status, reason)
    return wrong("WebSocket", f"the upgrade of {path} was refused: {reason}", "look into the server's log")


def _get(address: Address, path: str) -> tuple[int, Any, Message]:
    context = address.credentials.context() if address.secure else None
    asked = ask(address.http(path), address.credentials)
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE_SECONDS, context=context) as answer:
            return answer.status, _json(answer.read()), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _json(error.read()), error.headers


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
