"""What a request shows of who asks: from where, from which page, and with what token."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import SplitResult, parse_qs, urlsplit

from disco.settings import Network

Scope: TypeAlias = Mapping[str, Any]

#: The subprotocol that Disco speaks, and how a browser's WebSocket, which cannot set headers, brings a token.
PROTOCOL, TOKEN_PROTOCOL = "disco", "disco.token."
#: A proxy that adds one of these shows that the request comes from elsewhere.
_FORWARDING = frozenset({"forwarded", "x-forwarded-for", "x-real-ip", "via"})
_LOCAL_NAMES = re.compile(r"(.+\.)?localhost", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request shows.

    Args:
        address: the client's, behind trusted proxies.
        local: whether it comes from this machine, to an address and a name of it, and by no proxy that says so.
        origin: of the page that asks; None for what is no browser.
        same_site: whether that page was served under the name that is asked.
        token: as it came; None without one.
        ticket: likewise; WebSockets only, as addresses of pages are kept and shown.
        protocol: the subprotocol to accept; None if none was offered that Disco speaks.
    """

    address: str
    local: bool
    origin: str | None
    same_site: bool
    token: str | None
    ticket: str | None
    protocol: str | None

    @classmethod
    def read(cls, scope: Scope, proxies: Sequence[Network] = ()) -> Asked:
        """Read the scope of an HTTP request or a WebSocket (ASGI)."""
        headers = _headers(scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        protocols = tuple(map(str, scope.get("subprotocols") or ()))
        offered = next((name for name in protocols if name.startswith(TOKEN_PROTOCOL)), None)
        query = bytes(scope.get("query_string") or b"") if scope["type"] == "websocket" else b""
        return cls(
            address=client_address(scope, headers, proxies),
            local=_is_local(scope, headers),
            origin=origin,
            same_site=bool(host) and origin is not None and _split(origin).netloc.lower() == host.lower(),
            token=_bearer(headers) or (offered.removeprefix(TOKEN_PROTOCOL) if offered else None),
            ticket=_ticket(query),
            protocol=PROTOCOL if PROTOCOL in protocols else offered,
        )


def _headers(scope: Scope) -> dict[str, str]:
    """Return headers by their names in lower case; of several, all values with commas between them."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = bytes(raw_name).decode("latin-1").lower(), bytes(raw_value).decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _bearer(headers: Mapping[str, str]) -> str | None:
    """Return the token of ``Authorization: Bearer`` (RFC 6750); other schemes are a proxy's business."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _ticket(query: bytes) -> str | None:
    try:
        found = parse_qs(query.decode("latin-1"), max_num_fields=64)
    except ValueError:  # too many fields
        return None
    return found.get("ticket", [None])[-1]


def client_address(scope: Scope, headers: Mapping[str, str], proxies: Sequence[Network]) -> str:
    """Return where a request comes from.

    Each proxy adds to the right of X-Forwarded-For whom it heard. So going left from the connection itself, the first
    address that is no trusted proxy is the client; what stands further left is what it says of itself.
    """
    client = scope.get("client")
    address = str(client[0]) if client else ""
    for heard in reversed(headers.get("x-forwarded-for", "").split(",")):
        if not heard.strip() or not is_in(address, proxies):
            break
        address = heard.strip()
    return address


def group_of(address: str) -> str:
    """Return what limits are counted by: an IPv4 address, or the /64 in which an IPv6 client picks its own."""
    parsed = _parse(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed or address)


def is_loopback(host: str) -> bool:
    """Tell whether a name or address is this machine's own, heard by nobody else."""
    parsed = _parse(host.strip("[]"))
    return parsed.is_loopback if parsed is not None else bool(_LOCAL_NAMES.fullmatch(host))


def _is_local(scope: Scope, headers: Mapping[str, str]) -> bool:
    client = scope.get("client")
    server = scope.get("server") or client  # ASGI lets a server leave its own address out
    if not client or not server or _FORWARDING & headers.keys():
        return False
    # A page elsewhere can have its own name resolved to this machine (DNS rebinding), but not change the Host header.
    name = _split(f"//{headers.get('host', '')}").hostname or ""
    return all(is_loopback(str(each)) for each in (server[0], client[0], name))


def _split(url: str) -> SplitResult:
    """Read a URL; an empty one for what is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def is_in(address: str, networks: Iterable[Network]) -> bool:
    """Tell whether an address is in one of some networks."""
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in networks)


@lru_cache(maxsize=4096)  # the same few over and over: a connection's own is asked for six times
def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address, an IPv4 one inside IPv6 as itself; None for a name."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
