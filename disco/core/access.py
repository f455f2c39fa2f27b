"""Who may do what: roles, tokens and the decision, without a clock or a file.

    role         list tasks   read models   join   add, change and remove tasks
    viewer           ✓             ✓
    participant      ✓             ✓          ✓
    admin            ✓             ✓          ✓          ✓

What needs no token is open to everybody, whatever the role. A token may be limited to some tasks.

A token is 256 random bits in text, ``disco_<id>_<secret>``. Nobody guesses one, so what is kept of it is a plain
SHA-256; the ID is no secret, and finds the entry to compare with.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from disco.errors import Forbidden, Unauthenticated

PREFIX = "disco_"
ID_BYTES, SECRET_BYTES = 4, 32


class Role(StrEnum):
    """What kind of caller a token makes."""

    ADMIN = "admin"
    PARTICIPANT = "participant"
    VIEWER = "viewer"


class Deed(StrEnum):
    """What somebody wants to do, as the rest of "may not …"."""

    LIST = "list tasks"
    READ = "read models"
    JOIN = "join"
    ADD = "add tasks"
    MANAGE = "change, pause or remove tasks"


GRANTS: Mapping[Role, frozenset[Deed]] = {
    Role.VIEWER: frozenset({Deed.LIST, Deed.READ}),
    Role.PARTICIPANT: frozenset({Deed.LIST, Deed.READ, Deed.JOIN}),
    Role.ADMIN: frozenset(Deed),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who showed a valid token.

    Args:
        name: for the log: a token's ID, or a JWT's subject.
        tasks: the only ones that the token is for; None for all.
        digest: of the token, as it is kept; empty for a JWT, which is kept nowhere.
        expires_at: Unix seconds from which it is not valid; inf for never.
    """

    name: str
    role: Role
    tasks: frozenset[str] | None = None
    digest: str = ""
    expires_at: float = math.inf

    def may(self, deed: Deed, task: str | None) -> bool:
        """Tell whether the role allows a deed, and the token is for the task; None where no one task is meant."""
        concerns = self.tasks is None or task is None or task in self.tasks
        return deed in GRANTS[self.role] and concerns

    def objection(self, digests: Container[str], now: float) -> Unauthenticated | None:
        """Say why somebody who was recognised would not be any more; None if they would.

        Args:
            digests: of the tokens that are kept now.
            now: Unix seconds.
        """
        if now >= self.expires_at:
            return Unauthenticated("this token has expired")
        if self.digest and self.digest not in digests:
            return Unauthenticated("this token was revoked")
        return None


def require(deed: Deed, task: str | None, caller: Caller | None, *, closed: bool) -> None:
    """Let a caller pass, or say what is missing.

    Args:
        deed: what is to be done.
        task: to which task; None where no one task is meant.
        caller: who showed a valid token; None without one.
        closed: whether this deed needs a token here.

    Raises:
        Unauthenticated: it does, and there is none.
        Forbidden: the token does not allow it.
    """
    if not closed:
        return
    about = f"task {task!r}: " if task is not None else ""
    if caller is None:
        raise Unauthenticated(f"{about}to {deed} needs a token here; an administrator makes one")
    if not caller.may(deed, task):
        raise Forbidden(f"{about}this token, of a {caller.role}, may not {deed}")


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token.

    Args:
        id: tells it from the others; no secret.
        digest: SHA-256 of its text, in hexadecimal.
        created_at: Unix seconds.
        expires_at: Unix seconds from which it is not valid; inf for never.
        note: what its maker wrote beside it.
    """

    id: str
    digest: str
    role: Role
    tasks: frozenset[str] | None
    created_at: float
    expires_at: float = math.inf
    note: str = ""

    @classmethod
    def from_document(cls, document: Any) -> Token:
        """Read what `document` wrote.

        Raises:
            ValueError: it is something else; so is what a wrong type raises (KeyError, TypeError).
        """
        tasks, expires = document["tasks"], document["expires_at"]
        return cls(
            id=str(document["id"]),
            digest=str(document["sha256"]),
            role=Role(document["role"]),
            tasks=None if tasks is None else frozenset(map(str, tasks)),
            created_at=float(document["created_at"]),
            expires_at=math.inf if expires is None else float(expires),
            note=str(document.get("note", "")),
        )

    def document(self) -> dict[str, Any]:
        """Return it as JSON values; no secret is in it."""
        return {
            "id": self.id,
            "sha256": self.digest,
            "role": str(self.role),
            "tasks": None if self.tasks is None else sorted(self.tasks),
            "created_at": self.created_at,
            "expires_at": None if self.expires_at == math.inf else self.expires_at,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Wish:
    """What a new token is to be."""

    role: Role
    tasks: frozenset[str] | None = None
    expires_at: float = math.inf
    note: str = ""


def mint(wish: Wish, entropy: bytes, now: float) -> tuple[str, Token]:
    """Make a token.

    Args:
        wish: what it is for.
        entropy: `ID_BYTES` + `SECRET_BYTES` random bytes.
        now: Unix seconds.

    Returns:
        Its text, which is kept nowhere, and what to keep.
    """
    if len(entropy) != ID_BYTES + SECRET_BYTES:
        raise ValueError(f"a token needs {ID_BYTES + SECRET_BYTES} random bytes, not {len(entropy)}")
    id_ = entropy[:ID_BYTES].hex()
    secret = base64.urlsafe_b64encode(entropy[ID_BYTES:]).rstrip(b"=").decode()
    text = f"{PREFIX}{id_}_{secret}"
    return text, Token(id_, digest(text), wish.role, wish.tasks, now, wish.expires_at, wish.note)


def digest(text: str) -> str:
    """Return what is kept of a token's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def recognise(text: str, tokens: Iterable[Token], now: float) -> Caller:
    """Return who shows a token; the time it takes tells nothing of any secret.

    Raises:
        Unauthenticated: it is none of `tokens`, or has expired.
    """
    id_ = text.removeprefix(PREFIX).partition("_")[0]
    kept = next((token for token in tokens if token.id == id_), None)
    expected = kept.digest if kept is not None else digest("")
    matches = hmac.compare_digest(digest(text).encode(), expected.encode())
    if kept is None or not matches:
        raise Unauthenticated("this token is not valid here, or not any more")
    if now >= kept.expires_at:
        raise Unauthenticated("this token has expired")
    return Caller(kept.id, kept.role, kept.tasks, kept.digest, kept.expires_at)
