"""What every HTTP answer has in common: errors as JSON, CORS, and the front page."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version

from quart import Quart, Response, jsonify, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from disco.errors import DiscoError
from disco.settings import Settings
from disco.web.tasks import describe

log = logging.getLogger("disco.web")

METHODS = "GET, HEAD, POST, OPTIONS"


def disco_version() -> str:
    """Return the installed version, or that of a bare checkout."""
    try:
        return version("disco-server")
    except PackageNotFoundError:
        return "0+checkout"


def install(app: Quart, settings: Settings) -> None:
    """Give an app its error answers, CORS headers and front page."""
    allowed = {origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()}

    @app.get("/")
    async def front() -> Response:
        """Say what this server is."""
        return jsonify(
            name="Disco",
            version=disco_version(),
            about="a server for federated and decentralized learning that speaks the DISCO protocol",
            tasks="/tasks",
            federated="/federated/:taskID (WebSocket)",
            decentralized="/decentralized/:taskID (WebSocket)",
        )

    @app.get("/healthz")
    async def alive() -> Response:
        """Say that the server answers."""
        return jsonify(status="alive")

    @app.errorhandler(DiscoError)
    async def refused(error: DiscoError) -> tuple[Response, int]:
        body, status = describe(error)
        if status >= 500:
            log.error("path=%s %s", request.path[:200], error)
        return jsonify(body), status

    @app.errorhandler(HTTPException)
    async def failed(error: HTTPException) -> tuple[Response, int]:
        problem = error.description or error.name
        if isinstance(error, RequestEntityTooLarge):
            problem = f"the body is larger than limits.body_bytes, {settings.limits.body_bytes}"
        return jsonify(error=problem, fields=[]), error.code or 500

    @app.after_request
    async def share(answer: Response) -> Response:
        """Let pages of allowed origins read the answer (Fetch standard, CORS protocol)."""
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
            answer.headers["Access-Control-Allow-Methods"] = METHODS
            answer.headers["Access-Control-Allow-Headers"] = "Content-Type, If-None-Match, Authorization"
            answer.headers["Access-Control-Max-Age"] = "86400"
        return answer
