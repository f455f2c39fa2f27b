"""JSON Web Tokens of an identity provider (OIDC) as callers. Needs PyJWT: ``pip install disco-server[jwt]``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from disco.core.access import Caller, Role
from disco.errors import SettingsError, Unauthenticated
from disco.settings import Access

#: Seconds that the issuer's clock may differ from ours.
LEEWAY = 30


class JwtVerifier:
    """Recognises callers by JSON Web Tokens, with keys from a file.

    Source: RFC 7519 (JWT), RFC 8725 (best current practices), RFC 7517 (JWKS).
    """

    def __init__(self, access: Access) -> None:
        """Read the keys.

        Raises:
            SettingsError: PyJWT is missing, or the file holds no public key.
        """
        if access.jwt_key is None:
            raise SettingsError("access.jwt_key must name a file with public keys")
        try:
            import jwt
        except ImportError as error:
            raise SettingsError("access.jwt_key needs PyJWT: pip install 'disco-server[jwt]'") from error
        self._jwt: Any = jwt
        self._access = access
        self._keys = self._read(access.jwt_key)

    def recognise(self, text: str) -> Caller:
        """Return who shows a JWT.

        Raises:
            Unauthenticated: it is not valid here, or names no role of Disco's.
        """
        access = self._access
        try:
            key, algorithms = self._key_of(text)
            claims = self._jwt.decode(
                text,
                key,
                algorithms=algorithms,
                audience=access.jwt_audience,
                issuer=access.jwt_issuer or None,
                leeway=LEEWAY,
                options={"require": ["exp", "aud", "sub"]},
            )
        except self._jwt.InvalidTokenError as error:
            raise Unauthenticated(f"this JWT is not valid here: {error}") from None
        expires_at = float(claims["exp"]) + LEEWAY
        return Caller(str(claims["sub"])[:64], self._role(claims), _tasks(claims), expires_at=expires_at)

    def _key_of(self, text: str) -> tuple[Any, list[str]]:
        name = self._jwt.get_unverified_header(text).get("kid")
        found = self._keys.get(name) or (next(iter(self._keys.values())) if len(self._keys) == 1 else None)
        if found is None:
            raise self._jwt.InvalidTokenError("it is signed with a key that is not known here")
        key: tuple[Any, list[str]] = found
        return key

    def _role(self, claims: Mapping[str, Any]) -> Role:
        claim = self._access.jwt_role_claim
        given = claims.get(claim)
        roles = [role for role in Role if role in (given if isinstance(given, list) else [given])]
        if not roles:
            raise Unauthenticated(f"this JWT has no role of Disco's in its claim {claim!r}")
        return roles[0]

    def _read(self, path: Path) -> dict[str | None, tuple[Any, list[str]]]:
        """Read a PEM public key, or a JWKS document."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            content = path.read_bytes()
            if content.lstrip().startswith(b"{"):
                keys = self._jwt.PyJWKSet.from_dict(json.loads(content)).keys
                return {key.key_id: (key.key, _algorithms(key.key)) for key in keys}
            public = load_pem_public_key(content)
            return {None: (public, _algorithms(public))}
        except OSError as error:
            raise SettingsError(f"access.jwt_key: {path} cannot be read: {error.strerror}") from error
        except (ValueError, UnsupportedAlgorithm, self._jwt.PyJWTError) as error:
            raise SettingsError(f"access.jwt_key: {path} holds no public key: {error}") from error


def _algorithms(key: Any) -> list[str]:
    """Return what a kind of public key verifies.

    Never what a token says of itself: that may be ``none``, or take a public key for a shared secret.

    Raises:
        ValueError: it verifies nothing that is used in JWTs.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    match key:
        case rsa.RSAPublicKey():
            return ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
        case ec.EllipticCurvePublicKey():
            return ["ES256", "ES384", "ES512"]
        case ed25519.Ed25519PublicKey():
            return ["EdDSA"]
    raise ValueError(f"a {type(key).__name__} verifies no JWT here")


def _tasks(claims: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the tasks that a JWT is limited to by its claim ``disco_tasks``."""
    given = claims.get("disco_tasks")
    return None if given is None else frozenset(map(str, given if isinstance(given, list) else [given]))
