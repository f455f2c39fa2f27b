"""What every refusal has beside its status and its sentence, over HTTP and before an upgrade."""

from __future__ import annotations

import json
from typing import Any, cast

from hypercorn.typing import ASGISendCallable, ASGISendEvent, WebsocketScope

from disco.errors import DiscoError, StorageError, TooMany, Unauthenticated, Unavailable

#: Seconds after which trying again may help.
RETRY_SECONDS = 5


def headers_for(error: DiscoError) -> dict[str, str]:
    """Return the headers that a refusal needs: how to show a token (RFC 6750), when to come back (RFC 9110)."""
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": 'Bearer realm="disco"'}
    if isinstance(error, TooMany | Unavailable | StorageError):
        return {"Retry-After": str(RETRY_SECONDS)}
    return {}


async def refuse(scope: WebsocketScope, send: ASGISendCallable, error: DiscoError) -> None:
    """Answer an upgrade with a status and a JSON sentence, where the server can; with 403 where it cannot."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": error.close_code, "reason": str(error)})
        return
    body = json.dumps({"error": str(error)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(name.lower().encode(), value.encode()) for name, value in headers_for(error).items()]
    start: dict[str, Any] = {
        "type": "websocket.http.response.start",
        "status": error.http_status,
        "headers": headers,
    }
    await send(cast("ASGISendEvent", start))
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})
