"""A running server's HTTP interface, as far as the command line needs it."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

from disco.errors import ConnectionLost, Refused, SettingsError

#: Seconds to wait for each answer. A posted model of hundreds of megabytes is checked and fsynced first.
TIMEOUT_SECONDS = 120.0


def get_json(server: str, path: str) -> Any:
    """Fetch a JSON document.

    Raises:
        SettingsError: `server` is not an address.
        ConnectionLost: no server answers there.
        Refused: it does not give the document; the message is its reason.
    """
    return _ask(_request(server, path))


def post_json(server: str, path: str, document: object) -> Any:
    """Send a JSON document, and return the JSON answer.

    Raises:
        SettingsError: `server` is not an address.
        ConnectionLost: no server answers there.
        Refused: it does not accept the document; the message has every problem on a line of its own.
    """
    request = _request(server, path)
    request.data = json.dumps(document).encode()
    request.add_header("Content-Type", "application/json")
    return _ask(request)


def _request(server: str, path: str) -> urllib.request.Request:
    if not server.startswith(("http://", "https://")):
        raise SettingsError(f"--server must be an address such as http://127.0.0.1:8080, not {server}")
    return urllib.request.Request(f"{server.rstrip('/')}/{path}", headers={"Accept": "application/json"})


def _ask(request: urllib.request.Request) -> Any:
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return _parse(answer.read(), request.full_url)
    except urllib.error.HTTPError as error:
        with error:
            raise Refused(_reason(error)) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ConnectionLost(
            f"No server answers at {request.full_url}: {reason}; start one with `disco serve` or name another "
            "with --server"
        ) from error


def _parse(body: bytes, url: str) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise Refused(f"{url} did not answer with JSON; is a Disco server there?") from error


def _reason(answer: urllib.error.HTTPError) -> str:
    """Read ``{error, fields: [{path, problem}]}``, or whatever else a proxy may have put there."""
    try:
        document = json.loads(answer.read())
        lines = [document["error"]]
        lines += [f"  {field['path']} {field['problem']}" for field in document.get("fields", [])]
        return "\n".join(map(str, lines))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{answer.url} answered {answer.code} {answer.reason}"
