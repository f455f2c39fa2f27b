"""The dashboard's pages and their files. A browser gets a page where everybody else gets JSON.

Pages are static: what they show, they fetch as JSON and hear as server-sent events. So nothing that a stranger wrote
is ever part of HTML, and the policy below needs no exception.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final

import trio
from quart import Blueprint, Request, Response, request
from werkzeug.datastructures import Headers

from disco.errors import UnknownTask

FOLDER: Final = Path(__file__).parent / "dashboard"

TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}

#: Source: Content Security Policy Level 3. TensorFlow.js needs none of what is left out, eval included.
POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "Accept",
    "Cache-Control": "no-cache",
}

blueprint = Blueprint("pages", __name__)


def wants_page(asked: Request) -> bool:
    """Tell a browser's address bar from programs: it names HTML, and they do not."""
    accepted = {part.split(";")[0].strip() for part in asked.headers.get("Accept", "").lower().split(",")}
    return "text/html" in accepted


@blueprint.get("/add")
async def add_page() -> Response:
    """The form that adds a task."""
    return await send("add.html")


@blueprint.get("/tasks/<task>/join")
async def join_page(task: str) -> Response:
    """The page that trains a task in the browser."""
    return await send("join.html")


@blueprint.get("/dashboard/<path:name>")
async def file(name: str) -> Response:
    """One file of the dashboard."""
    return await send(name)


async def send(name: str, status: int = 200) -> Response:
    """Answer with a file of the dashboard, or with 304.

    Raises:
        UnknownTask: there is no such file.
    """
    found = await trio.to_thread.run_sync(read, name)
    if found is None:
        raise UnknownTask(f"the dashboard has no file {name[:64]!r}")
    body, tag = found
    headers = Headers({**HEADERS, "ETag": tag})
    if status == 200 and tag in request.headers.get("If-None-Match", ""):
        return Response("", 304, headers=headers)
    return Response(body, status, headers=headers, content_type=TYPES[Path(name).suffix])


@lru_cache(maxsize=64)
def read(name: str) -> tuple[bytes, str] | None:
    """Return a file with its ETag; None if the dashboard has no file of this name."""
    if "\0" in name:
        return None
    path = (FOLDER / name).resolve()
    if not path.is_relative_to(FOLDER.resolve()) or path.suffix not in TYPES or not path.is_file():
        return None
    body = path.read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:24]}"'
