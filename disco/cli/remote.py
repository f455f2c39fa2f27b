"""A running server's HTTP interface, as far as the command line needs it, and the options that say which server."""

from __future__ import annotations

import functools
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from disco.errors import ConnectionLost, Refused, SettingsError
from disco.participant.address import Address
from disco.participant.credentials import distrust
from disco.participant.http import ask, refusal

SERVER = "http://127.0.0.1:8080"
#: Where a token is looked for. Never on the command line: `ps` shows that to everybody on the machine, and the shell
#: keeps it.
TOKEN_VARIABLE = "DISCO_TOKEN"
#: Seconds to wait for each answer. A posted model of hundreds of megabytes is checked and fsynced first.
TIMEOUT_SECONDS = 120.0

_TOKEN_HELP = f"A file with a token for the server; {TOKEN_VARIABLE} may hold the token itself."
_CA_HELP = "A file of certificates to believe, for a server that signed its own."
_CERT_HELP = "Your certificate, for a server that wants to see one."
_KEY_HELP = "Its private key, if that is in a file of its own."


@dataclass(frozen=True, slots=True)
class Shown:
    """The files of what the command line shows a server; see `Credentials`."""

    token_file: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> Shown:
        """Take them out of a command's options."""
        return cls(**{field.name: options.pop(field.name, None) for field in fields(cls)})


def credential_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what to show a server; the command gets one `shown`."""

    @functools.wraps(command)
    def with_shown(*args: Any, **options: Any) -> None:
        command(*args, shown=Shown.taken_from(options), **options)

    found: Callable[..., None] = with_shown
    for name, variable, help_ in (
        ("--key", "DISCO_KEY", _KEY_HELP),
        ("--cert", "DISCO_CERT", _CERT_HELP),
        ("--ca", "DISCO_CA", _CA_HELP),
        ("--token-file", "DISCO_TOKEN_FILE", _TOKEN_HELP),
    ):
        path = click.Path(path_type=Path, dir_okay=False)
        found = click.option(name, type=path, metavar="FILE", envvar=variable, help=help_)(found)
    return found


def server_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which server, and what to show it; the command gets one `server`, an `Address`."""

    @functools.wraps(command)
    def with_server(*args: Any, server: str, shown: Shown, **others: Any) -> None:
        command(*args, server=locate(server, shown), **others)

    option = click.option(
        "--server",
        metavar="URL",
        envvar="DISCO_SERVER",
        default=SERVER,
        show_default=True,
        help="The server.",
    )
    return option(credential_options(with_server))


def locate(server: str, shown: Shown) -> Address:
    """Return a server's address, with what to show it.

    Raises:
        SettingsError: it is no address, or the token or the certificates cannot be used.
    """
    token = read_secret(TOKEN_VARIABLE, "--token-file", shown.token_file, "token")
    return Address.parse(server, token, shown.ca, shown.cert, shown.key, called="--server")


def read_secret(variable: str, option: str, path: Path | None, what: str) -> str | None:
    """Read a secret from the file that an option names, or else from the environment; None if it is in neither.

    Raises:
        SettingsError: the file cannot be read, or is empty.
    """
    if path is None:
        return os.environ.get(variable, "").strip() or None
    try:
        secret = path.read_text("ascii").strip()
    except OSError as error:
        raise SettingsError(f"{option} {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{option} {path} holds no {what}") from error
    if not secret:
        raise SettingsError(f"{option} {path} is empty")
    return secret


def get_json(server: Address, path: str) -> Any:
    """Fetch a JSON document.

    Raises:
        ConnectionLost: no server answers there.
        Refused: it does not give the document; the message is its reason.
    """
    return _ask(ask(server.http(path), server.credentials), server)


def post_json(server: Address, path: str, document: object) -> Any:
    """Send a JSON document, and return the JSON answer.

    Raises:
        ConnectionLost: no server answers there.
        Refused: it does not accept the document; the message has every problem on a line of its own.
    """
    request = ask(server.http(path), server.credentials, **{"Content-Type": "application/json"})
    request.data = json.dumps(document).encode()
    return _ask(request, server)


def _ask(request: urllib.request.Request, server: Address) -> Any:
    context = server.credentials.context() if server.secure else None
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=context) as answer:
            return _parse(answer.read(), request.full_url)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error, server) from None
    except (OSError, http.client.HTTPException) as error:
        no_answer = (
            f"No server answers at {request.full_url}: {getattr(error, 'reason', None) or error}; start one with "
            "`disco serve` or name another with --server"
        )
        raise ConnectionLost(distrust(error, request.full_url) or no_answer) from error


def _parse(body: bytes, url: str) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise Refused(f"{url} did not answer with JSON; is a Disco server there?") from error


def _refused(answer: urllib.error.HTTPError, server: Address) -> Refused:
    """Return the server's refusal, of a class that tells what kind it is, and where a token would go."""
    reason = _reason(answer)
    if answer.code == 401 and server.credentials.token is None:
        reason += f"; give it in {TOKEN_VARIABLE} or with --token-file"
    found = refusal(answer.code, reason)
    return found if isinstance(found, Refused) else Refused(reason)


def _reason(answer: urllib.error.HTTPError) -> str:
    """Read ``{error, fields: [{path, problem}]}``, or whatever else a proxy may have put there."""
    try:
        document = json.loads(answer.read())
        lines = [document["error"]]
        lines += [f"  {field['path']} {field['problem']}" for field in document.get("fields", [])]
        return "\n".join(map(str, lines))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{answer.url} answered {answer.code} {answer.reason}"
