"""Where a server is."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from disco.errors import SettingsError

_SECURE = {"http": False, "ws": False, "https": True, "wss": True}


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address.

    Args:
        secure: whether it is spoken to over TLS.
        host: name or IP address, an IPv6 one without brackets.
        port: TCP port.
        prefix: path under which a proxy serves it, without a slash at the end; empty for most.
    """

    secure: bool
    host: str
    port: int
    prefix: str = ""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL with http, https, ws or wss, with or without a slash at the end.

        Raises:
            SettingsError: it is no such URL.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise SettingsError(f"url {url!r} cannot be read: {error}") from error
        if parts.scheme not in _SECURE or not parts.hostname:
            raise SettingsError(f"url must be an address such as http://127.0.0.1:8080, not {url!r}")
        secure = _SECURE[parts.scheme]
        return cls(secure, parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/"))

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
