"""What every HTTP answer has in common: errors as JSON, CORS, and the front page."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version

from quart import Quart, Response, jsonify, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from disco.errors import DiscoError, Unauthenticated
from disco.settings import Settings
from disco.web import pages
from disco.web.refusals import headers_for
from disco.web.tasks import describe

log = logging.getLogger("disco.web")

#: From every site where ``*`` allows them all. Only a site that is named may change and remove what is there.
METHODS = "GET, HEAD, POST, OPTIONS"

#: For every answer; pages bring a policy of their own. JSON that a browser is made to show runs nothing.
SHIELDS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def disco_version() -> str:
    """Return the installed version, or that of a bare checkout."""
    try:
        return version("disco-server")
    except PackageNotFoundError:
        return "0+checkout"


def install(app: Quart, settings: Settings) -> None:
    """Give an app its error answers, CORS headers and front page."""
    allowed = settings.origins

    @app.get("/")
    async def front() -> Response:
        """Say what this server is: a browser gets the dashboard."""
        if pages.wants_page(request):
            return await pages.send("index.html")
        answer = jsonify(
            name="Disco",
            version=disco_version(),
            about="a server for federated and decentralized learning that speaks the DISCO protocol",
            tasks="/tasks",
            federated="/federated/:taskID (WebSocket)",
            decentralized="/decentralized/:taskID (WebSocket)",
        )
        answer.headers["Vary"] = "Accept"
        return answer

    @app.errorhandler(DiscoError)
    async def refused(error: DiscoError) -> tuple[Response, int, dict[str, str]]:
        body, status = describe(error)
        if status >= 500:
            log.error("path=%s %s", request.path[:200], error)
        if isinstance(error, Unauthenticated) and pages.wants_page(request):
            return await pages.send("task.html", status), status, headers_for(error)  # it asks for a token
        return jsonify(body), status, headers_for(error)

    @app.errorhandler(HTTPException)
    async def failed(error: HTTPException) -> tuple[Response, int]:
        problem = error.description or error.name
        if isinstance(error, RequestEntityTooLarge):
            problem = f"the body is larger than limits.body_bytes, {settings.limits.body_bytes}"
        return jsonify(error=problem, fields=[]), error.code or 500

    @app.after_request
    async def share(answer: Response) -> Response:
        """Let pages of allowed origins read the answer (Fetch standard, CORS protocol), and nobody guess its type."""
        for name, value in SHIELDS.items():
            answer.headers.setdefault(name, value)
        if settings.tls.certfile is not None:
            answer.headers["Strict-Transport-Security"] = "max-age=31536000"
        origin = request.headers.get("Origin")
        if "*" in allowed:
            answer.headers["Access-Control-Allow-Origin"] = "*"
        elif origin in allowed:
            answer.headers["Access-Control-Allow-Origin"] = origin
            answer.headers.add("Vary", "Origin")
        else:
            return answer
        answer.headers["Access-Control-Expose-Headers"] = "ETag, Location, X-Disco-Round"
        if request.method == "OPTIONS":
            named = origin in allowed
            answer.headers["Access-Control-Allow-Methods"] = f"{METHODS}, PUT, DELETE" if named else METHODS
            answer.headers["Access-Control-Allow-Headers"] = "Content-Type, If-None-Match, Authorization"
            answer.headers["Access-Control-Max-Age"] = "86400"
        return answer
