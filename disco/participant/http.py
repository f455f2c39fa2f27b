"""What a participant asks of a server over HTTP: what the task is, and its model before the first round."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

import trio

from disco.core.model import Model
from disco.core.weights import Weights
from disco.errors import ConnectionLost, DiscoError, InvalidTask, NotAllowed, NotRecognised, Refused
from disco.participant.address import Address
from disco.participant.credentials import Credentials, distrust

#: HTTP statuses below 500 after which trying again helps.
PASSING_STATUSES = frozenset({408, 425, 429})
#: Seconds that a model may take between two of its bytes, on top of those for any answer.
MODEL_SECONDS = 60.0

#: HTTP status → what a participant makes of it, beside `Refused`.
_REFUSALS: Mapping[int, type[Refused]] = {401: NotRecognised, 403: NotAllowed}


async def fetch_task(address: Address, task: str, timeout: float) -> dict[str, Any]:
    """Return a task's JSON document.

    Raises:
        ConnectionLost: the server cannot be reached within `timeout` seconds, or cannot answer now.
        Refused: it has no such task, in its own words, or is no Disco server.
    """
    url = address.http(f"tasks/{quote(task, safe='')}")
    body, _ = await _get(url, timeout, address.credentials)
    try:
        document = json.loads(body)
    except ValueError as error:
        raise Refused(f"{url} did not answer with JSON; is a Disco server there?") from error
    if not isinstance(document, dict):
        raise Refused(f"{url} did not answer with a task; is a Disco server there?")
    return document


async def fetch_weights(address: Address, task: str, timeout: float) -> tuple[int, Weights]:
    """Return the weights that a task serves, and their round; see `fetch_model`."""
    round_, model = await fetch_model(address, task, timeout)
    return round_, model.weights


async def fetch_model(address: Address, task: str, timeout: float) -> tuple[int, Model]:
    """Return the model that a task serves, and its round.

    Raises:
        ConnectionLost: the server cannot be reached, or cannot answer now.
        Refused: it has no such task, or what it serves is no model.
    """
    url = address.http(f"tasks/{quote(task, safe='')}/model.json?format=msgpack")
    body, headers = await _get(url, timeout + MODEL_SECONDS, address.credentials)
    try:
        model = await trio.to_thread.run_sync(Model.from_msgpack, body)
        return int(headers.get("X-Disco-Round", "0")), model
    except (InvalidTask, ValueError) as error:
        raise Refused(f"{url} is no model: {error}") from error


def sentence(body: bytes) -> str:
    """Return the sentence in an error's body, ``{error: sentence}``; empty if there is none."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return ""


def refusal(status: int, reason: str) -> DiscoError:
    """Return what an HTTP status from 400 on, and the sentence that came with it, mean to a participant."""
    if status >= 500 or status in PASSING_STATUSES:
        return ConnectionLost(reason)
    return _REFUSALS.get(status, Refused)(reason)


def ask(url: str, credentials: Credentials, **headers: str) -> urllib.request.Request:
    """Make a request for JSON. A token is shown to this server only, not to where it may send us on."""
    request = urllib.request.Request(url, headers={"Accept": "application/json", **headers})
    for name, value in credentials.headers.items():
        request.add_unredirected_header(name, value)
    return request


async def _get(url: str, timeout: float, credentials: Credentials) -> tuple[bytes, http.client.HTTPMessage]:
    """Fetch a document in a thread, which is left behind when the caller is cancelled; it ends by itself."""
    fetch = partial(_get_blocking, url, timeout, credentials)
    return await trio.to_thread.run_sync(fetch, abandon_on_cancel=True)


def _get_blocking(
    url: str, timeout: float, credentials: Credentials
) -> tuple[bytes, http.client.HTTPMessage]:
    # WebSockets go straight to the server; so does this, whatever proxy the environment names.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if url.startswith("https:"):
        handlers.append(urllib.request.HTTPSHandler(context=credentials.context()))
    try:
        with urllib.request.build_opener(*handlers).open(ask(url, credentials), timeout=timeout) as answer:
            return answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            reason = sentence(error.read()) or f"{url} answered {error.code} {error.reason}"
        raise refusal(error.code, reason) from None
    except (OSError, http.client.HTTPException) as error:
        no_answer = f"no server answers at {url}: {getattr(error, 'reason', None) or error}"
        raise ConnectionLost(distrust(error, f"the server at {url}") or no_answer) from error
