"""Where a server is, and what to show it."""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from disco.errors import SettingsError
from disco.participant.credentials import NOBODY, Credentials

log = logging.getLogger("disco.participant")

_SECURE = {"http": False, "ws": False, "https": True, "wss": True}


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address.

    Args:
        secure: whether it is spoken to over TLS.
        host: name or IP address, an IPv6 one without brackets.
        port: TCP port.
        prefix: path under which a proxy serves it, without a slash at the end; empty for most.
        credentials: what to show it, whatever is asked of it.
    """

    secure: bool
    host: str
    port: int
    prefix: str = ""
    credentials: Credentials = NOBODY

    @classmethod
    def parse(
        cls,
        url: str,
        token: str | None = None,
        ca: str | Path | None = None,
        cert: str | Path | None = None,
        key: str | Path | None = None,
        *,
        called: str = "url",
    ) -> Address:
        """Read a URL with http, https, ws or wss, with or without a slash at the end.

        Args:
            url: the server's.
            token: see `Credentials`. A warning is logged where it would travel unencrypted to another machine.
            ca: see `Credentials`, and there for `cert` and `key` too.
            cert: likewise.
            key: likewise.
            called: what whoever gave the URL knows it by.

        Raises:
            SettingsError: it is no such URL, or the others cannot be used.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise SettingsError(f"{called} {url!r} cannot be read: {error}") from error
        if parts.scheme not in _SECURE or not parts.hostname:
            raise SettingsError(f"{called} must be an address such as http://127.0.0.1:8080, not {url!r}")
        secure = _SECURE[parts.scheme]
        credentials = Credentials(token, *(None if file is None else Path(file) for file in (ca, cert, key)))
        if token is not None and not secure and not _is_here(parts.hostname):
            log.warning("the token goes to %s unencrypted, for whoever listens: use https", parts.hostname)
        return cls(
            secure, parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/"), credentials
        )

    @property
    def authority(self) -> str:
        """Host and port as in a URL; the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    def path(self, path: str) -> str:
        """Return the absolute path of a resource of the server: `path` is relative, as ``tasks/titanic``."""
        return f"{self.prefix}/{path}"

    def http(self, path: str) -> str:
        """Return the URL of a resource for HTTP."""
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.path(path)}"

    def __str__(self) -> str:
        return self.http("")


def _is_here(host: str) -> bool:
    """Tell whether a name or address is this machine's own, so that nothing leaves it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
