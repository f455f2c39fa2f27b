"""What a participant shows a server, and whose certificates it believes."""

from __future__ import annotations

import re
import ssl
import urllib.error
from dataclasses import dataclass, field
from pathlib import Path

from disco.errors import SettingsError

#: What may stand behind "Bearer" (RFC 6750, section 2.1). Line breaks, above all, would be headers of their own.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


#: Alerts by which a server says that it did not believe our certificate, or misses one (RFC 8446, section 6.2).
_UNWELCOME = re.compile("ALERT_.*(CERTIFICATE|UNKNOWN_CA)")


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a participant is let in, and how it knows its server. The token is in no text that this makes.

    Args:
        token: a token of the server's (`disco tokens create`) or a JWT; None to show none.
        ca: certificates of authorities, PEM: only servers that one of them vouches for are believed, such as one that
            signed its own. None for the authorities that this machine trusts.
        cert: a certificate of one's own with its chain, PEM, for servers that want to see one; None to show none.
        key: its private key, PEM and not encrypted; None if that is in the file of the certificate.
    """

    token: str | None = field(default=None, repr=False)
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        """Check all of them.

        Raises:
            SettingsError: the token is none, which is not shown; `ca` holds no certificates; or `cert` and `key` are
                no certificate and its key.
        """
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise SettingsError(
                f"token must be one word of letters, digits and ._~+/-, and the one given, of {len(self.token)} "
                "characters, is not"
            )
        if self.key is not None and self.cert is None:
            raise SettingsError("key must be given together with cert, whose private key it is")
        if self.ca is not None or self.cert is not None:
            self.context()

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request: ``Authorization`` with a token, nothing without."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def context(self) -> ssl.SSLContext:
        """Return what checks a server's certificate, and that it is for the server's name, and shows it ours.

        Raises:
            SettingsError: a file cannot be read, or does not hold what it should.
        """
        try:
            context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        except ssl.SSLError as error:
            raise SettingsError(
                f"ca must name a file of certificates in PEM; {self.ca} holds none"
            ) from error
        except OSError as error:
            raise SettingsError(
                f"ca must name a file of certificates: {self.ca}: {error.strerror}"
            ) from error
        if self.cert is not None:
            self._show(context, self.cert, self.key or self.cert)
        return context

    def _show(self, context: ssl.SSLContext, cert: Path, key: Path) -> None:
        """Have a context show our certificate."""
        for name, path in (("cert", cert), ("key", key)):
            try:
                path.read_bytes()
            except OSError as error:
                raise SettingsError(f"{name} must name a file in PEM: {path}: {error.strerror}") from error
        try:
            context.load_cert_chain(cert, key, password="")  # else an encrypted key would ask at the terminal
        except ssl.SSLError as error:
            raise SettingsError(
                "cert and key must name a certificate and its private key, in PEM and not encrypted; "
                f"{cert} and {key} do not: {error.reason or error}"
            ) from error


#: Shows nothing, and believes whom this machine believes.
NOBODY = Credentials()


def distrust(error: object, server: object) -> str | None:
    """Say in a sentence whose certificate was not believed; None if `error`, or what urllib wrapped, is another."""
    if isinstance(error, urllib.error.URLError):
        error = error.reason
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{server} is not believed: its certificate is not trusted here: "
            f"{error.verify_message or error.reason}; name the authority that signed it, or a self-signed certificate "
            "itself, with ca (--ca)"
        )
    if isinstance(error, ssl.SSLError) and _UNWELCOME.search(error.reason or ""):
        return (
            f"{server} lets nobody in without a certificate of an authority that it believes ({error.reason}); name "
            "yours with cert and key (--cert, --key)"
        )
    return None
