"""The gate: who asks, and whether they may. Every route and every WebSocket passes it.

A token comes as ``Authorization: Bearer …``. A browser's WebSocket cannot set headers; it offers the subprotocols
``disco`` and ``disco.token.<token>``, of which the first is accepted, or it brings a ticket: ``POST /tickets``
gives one for a token, and ``?ticket=…`` spends it, once, within seconds. Neither tokens nor tickets are logged.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from disco.core import access
from disco.core.access import PREFIX, Caller, Deed
from disco.core.task import Task
from disco.errors import AccessDenied, Forbidden, StorageError, TooMany, Unauthenticated
from disco.settings import Settings
from disco.storage.tokens import TokenFile
from disco.web.callers import Asked, Scope, is_in, is_loopback
from disco.web.jwt_tokens import JwtVerifier

#: Tickets that may be out at once.
TICKETS = 10_000


@dataclass(slots=True)
class TicketOffice:
    """Tickets that stand for a caller, once and for a short time.

    Args:
        seconds: that a ticket is good for.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _out: dict[str, tuple[Caller, float]] = field(default_factory=dict, init=False)

    def issue(self, caller: Caller) -> str:
        """Give a ticket.

        Raises:
            TooMany: as many as are allowed are out.
        """
        now = self.clock()
        while self._out and next(iter(self._out.values()))[1] <= now:
            del self._out[next(iter(self._out))]
        if len(self._out) >= TICKETS:
            raise TooMany(f"{TICKETS} tickets are out; try again in {self.seconds:g} s")
        ticket = secrets.token_urlsafe(32)
        self._out[_digest(ticket)] = (caller, now + self.seconds)
        return ticket

    def redeem(self, ticket: str) -> Caller:
        """Return whose ticket it is; it is spent now.

        Raises:
            Unauthenticated: it is none, or has been used, or is too old.
        """
        caller, until = self._out.pop(_digest(ticket), (None, 0.0))
        if caller is None or self.clock() >= until:
            raise Unauthenticated(f"this ticket is not valid: each is good once, for {self.seconds:g} s")
        return caller


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()


class Gate:
    """Decides who may do what on one server.

    Raises:
        SettingsError: the keys for JWTs cannot be used.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """Make one; `clock` gives Unix seconds."""
        self._settings = settings
        self._clock = clock
        self._proxies = settings.trusted_proxies
        self._origins = settings.origins
        self._verifier = JwtVerifier(settings.access) if settings.access.jwt_key is not None else None
        self.tokens = TokenFile(settings.data_dir)
        self.tickets = TicketOffice(settings.access.ticket_seconds)

    def is_proxy(self, address: str) -> bool:
        """Tell whether an address is a trusted proxy's, so that others come from there."""
        return is_in(address, self._proxies)

    def asked(self, scope: Scope) -> Asked:
        """Read who asks from an ASGI scope."""
        return Asked.read(scope, self._proxies)

    def require(
        self, deed: Deed, asked: Asked, task: Task | None = None, name: str | None = None
    ) -> Caller | None:
        """Let a request pass and return whose token it showed, if any; or say what is missing.

        Args:
            deed: what it wants to do.
            asked: what it shows.
            task: to which task, if there is one yet.
            name: the ID of a task that there is not yet.

        Raises:
            Unauthenticated: it needs a token, or brought one that is not valid.
            Forbidden: its token does not allow it, or its page's origin is not allowed.
        """
        self.require_origin(deed, asked)
        caller = self.recognise(asked)
        about = task.id if task is not None else name
        access.require(deed, about, caller, closed=self.is_closed(deed, asked, task))
        return caller

    def recognise(self, asked: Asked) -> Caller | None:
        """Return who asks; None if nothing was shown.

        Raises:
            Unauthenticated: a token or ticket was shown that is not valid.
        """
        if asked.token is not None:
            if self._verifier is not None and not asked.token.startswith(PREFIX):
                return self._verifier.recognise(asked.token)
            return access.recognise(asked.token, self.tokens.read(), self._clock())
        if asked.ticket is None:
            return None
        caller = self.tickets.redeem(asked.ticket)
        if (objection := caller.objection(self.digests(), self._clock())) is not None:
            raise objection
        return caller

    def digests(self) -> frozenset[str]:
        """Return what is kept of the tokens that there are now.

        Raises:
            StorageError: their file cannot be read.
        """
        return frozenset(token.digest for token in self.tokens.read())

    def objection(self, caller: Caller | None) -> AccessDenied | None:
        """Say why a caller who was let in would not be any more; None if they would, or if nobody can tell now.

        What cannot be read is said by every request with a token; it is no reason to send away who is inside.
        """
        try:
            return None if caller is None else caller.objection(self.digests(), self._clock())
        except StorageError:
            return None

    def is_closed(self, deed: Deed, asked: Asked, task: Task | None) -> bool:
        """Tell whether a deed needs a token."""
        rules = self._settings.access
        match deed:
            case Deed.ADD | Deed.MANAGE:
                return rules.manage == "token" or (
                    rules.manage == "auto" and not (self.trusts_this_machine and asked.local)
                )
            case Deed.JOIN:
                return rules.join == "token" or (task is not None and task.requires_token)
            case Deed.READ:
                return rules.read == "token" or (task is not None and task.requires_token)
            case Deed.LIST:
                return rules.read == "token"

    @property
    def trusts_this_machine(self) -> bool:
        """Whether ``auto`` may let this machine manage tasks: nobody else is listened to, as far as is known."""
        return is_loopback(self._settings.host) and not self._proxies

    def require_origin(self, deed: Deed, asked: Asked) -> None:
        """Keep pages of other sites from what they are not allowed to do.

        CORS does not protect WebSockets: a browser opens them to every site and leaves the judging to the server. Nor
        does it keep a page from sending what needs no token; so only a site that is named may manage tasks.

        Raises:
            Forbidden: the request comes from a page of a site that is not in `cors_origins`.
        """
        if deed in (Deed.LIST, Deed.READ) or asked.origin is None or asked.same_site:
            return
        everybody = "*" in self._origins and (deed is not Deed.MANAGE or asked.token is not None)
        if not everybody and asked.origin not in self._origins:
            raise Forbidden(f"pages of {asked.origin[:200]!r} may not {deed} here: it is not in cors_origins")

    def describe(self) -> str:
        """Say in a sentence who may add, change and remove tasks."""
        rules = self._settings.access.manage
        if rules == "open":
            return "OPEN: whoever reaches this server may add, change and remove tasks (--open)"
        if rules == "auto" and self.trusts_this_machine:
            return "only this machine is listened to; it may add, change and remove tasks without a token"
        admins = [token for token in self.tokens.read() if token.role is access.Role.ADMIN]
        none = "" if admins or self._verifier else "; there is none yet: disco tokens create --role admin"
        return f"joining is open per task; adding, changing and removing tasks needs an admin token{none}"
