"""``disco tokens``: who may do what on the server of a data directory."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from disco.cli.rounds import data_dir_option, json_option
from disco.cli.table import print_json, print_table
from disco.core.access import ID_BYTES, SECRET_BYTES, Role, Token, Wish, mint
from disco.errors import Refused
from disco.settings import Settings
from disco.storage.tokens import TokenFile

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


@click.group(short_help="Create, list and revoke tokens.")
def tokens() -> None:
    """Create, list and revoke tokens; a running server follows at once.

    \b
    disco tokens create --role admin
    disco tokens create --role participant --task titanic --expires 30d --note "Hospital A"
    disco tokens list
    disco tokens revoke 1a2b3c4d
    """  # noqa: D301  # \b is click's mark for lines that it must not join


@tokens.command()
@click.option(
    "--role", required=True, type=click.Choice([role.value for role in Role]), help="What it allows."
)
@click.option("--task", "tasks", multiple=True, help="For this task only; repeatable.  [default: all tasks]")
@click.option(
    "--expires", metavar="TIME", help="30m, 12h, 90d, 2w, or a date such as 2030-01-31.  [default: never]"
)
@click.option("--note", default="", help="What to remember it by.")
@data_dir_option
@json_option
def create(
    role: str, tasks: Sequence[str], expires: str | None, note: str, data_dir: str | None, as_json: bool
) -> None:
    """Make a token and print it, this once: only its hash is kept."""
    now = time.time()
    wish = Wish(Role(role), frozenset(tasks) or None, _moment(expires, now), note)
    text, token = mint(wish, os.urandom(ID_BYTES + SECRET_BYTES), now)
    with _file(data_dir).changing() as kept:
        while any(other.id == token.id for other in kept):
            text, token = mint(wish, os.urandom(ID_BYTES + SECRET_BYTES), now)
        kept.append(token)
    if as_json:
        print_json({"token": text, **_facts(token, now)})
    else:
        click.echo(text)
        click.echo(f"Token {token.id}, of a {role}, is shown this once.", err=True)


@tokens.command("list")
@data_dir_option
@json_option
def list_tokens(data_dir: str | None, as_json: bool) -> None:
    """List the tokens, without what would let anybody use them."""
    now = time.time()
    facts = [_facts(token, now) for token in _file(data_dir).read()]
    if as_json:
        print_json(facts)
    else:
        columns = ["id", "role", "tasks", "created", "expires", "state", "note"]
        print_table(columns, [[row[column] for column in columns] for row in facts])


@tokens.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@data_dir_option
@json_option
def revoke(ids: Sequence[str], data_dir: str | None, as_json: bool) -> None:
    """Make tokens invalid. A running server closes what they opened within access.recheck_seconds (5)."""
    with _file(data_dir).changing() as kept:
        missing = set(ids) - {token.id for token in kept}
        if missing:
            raise Refused(f"there is no token {', '.join(sorted(missing))}; `disco tokens list` shows them")
        kept[:] = [token for token in kept if token.id not in ids]
    if as_json:
        print_json({"revoked": list(ids)})
    else:
        click.echo(f"Revoked: {', '.join(ids)}")


def _file(data_dir: str | None) -> TokenFile:
    return TokenFile(Settings.load({"data_dir": data_dir}).data_dir)


def _facts(token: Token, now: float) -> dict[str, str]:
    return {
        "id": token.id,
        "role": str(token.role),
        "tasks": "all" if token.tasks is None else " ".join(sorted(token.tasks)),
        "created": _time(token.created_at),
        "expires": "never" if token.expires_at == math.inf else _time(token.expires_at),
        "state": "expired" if now >= token.expires_at else "valid",
        "note": token.note,
    }


def _time(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).astimezone().isoformat(" ", "minutes")


def _moment(text: str | None, now: float) -> float:
    """Read when a token expires, in Unix seconds."""
    if text is None:
        return math.inf
    if found := re.fullmatch(r"(\d{1,6})([mhdw])", text):
        return now + int(found[1]) * _UNITS[found[2]]
    try:
        moment = datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither a time such as 30d nor a date", param_hint="--expires"
        ) from None
    if moment <= now:
        raise click.BadParameter(f"{text!r} is over", param_hint="--expires")
    return moment
