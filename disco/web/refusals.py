"""What every refusal has beside its status and its sentence, over HTTP and before an upgrade."""

from __future__ import annotations

from disco.errors import DiscoError, StorageError, TooMany, Unauthenticated, Unavailable

#: Seconds after which trying again may help.
RETRY_SECONDS = 5


def headers_for(error: DiscoError) -> dict[str, str]:
    """Return the headers that a refusal needs: how to show a token (RFC 6750), when to come back (RFC 9110)."""
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": 'Bearer realm="disco"'}
    if isinstance(error, TooMany | Unavailable | StorageError):
        return {"Retry-After": str(RETRY_SECONDS)}
    return {}
