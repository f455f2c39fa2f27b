"""What a participant shows a server, and whose certificates it believes."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from disco.errors import SettingsError

#: What may stand behind "Bearer" (RFC 6750, section 2.1). Line breaks, above all, would be headers of their own.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a participant is let in, and how it knows its server. The token is in no text that this makes.

    Args:
        token: a token of the server's (`disco tokens create`) or a JWT; None to show none.
        ca: certificates of authorities, PEM: only servers that one of them vouches for are believed, such as one that
            signed its own. None for the authorities that this machine trusts.
    """

    token: str | None = field(default=None, repr=False)
    ca: Path | None = None

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            SettingsError: the token is none, which is not shown; or `ca` holds no certificates.
        """
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise SettingsError(
                f"token must be one word of letters, digits and ._~+/-, and the one given, of {len(self.token)} "
                "characters, is not"
            )
        if self.ca is not None:
            self.context()

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request: ``Authorization`` with a token, nothing without."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def context(self) -> ssl.SSLContext:
        """Return what checks a server's certificate, and that it is for the server's name.

        Raises:
            SettingsError: `ca` cannot be read, or holds no certificates.
        """
        try:
            return ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        except ssl.SSLError as error:
            raise SettingsError(
                f"ca must name a file of certificates in PEM; {self.ca} holds none"
            ) from error
        except OSError as error:
            raise SettingsError(
                f"ca must name a file of certificates: {self.ca}: {error.strerror}"
            ) from error


#: Shows nothing, and believes whom this machine believes.
NOBODY = Credentials()


def distrust(error: BaseException | None) -> str | None:
    """Say in a sentence's end why a certificate was not believed; None if `error` is something else."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return None
    return (
        f"its certificate is not trusted here: {error.verify_message or error.reason}; name the authority that "
        "signed it, or a self-signed certificate itself, with ca (--ca)"
    )
