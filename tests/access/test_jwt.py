"""JSON Web Tokens of an identity provider."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from disco.core.access import Role
from disco.errors import SettingsError, Unauthenticated
from disco.settings import Access, Settings
from disco.web.jwt_tokens import LEEWAY, JwtVerifier
from tests.access.http import ask, bearer
from tests.conftest import ServerFactory
from tests.web.clients import upgrade

jwt = pytest.importorskip("jwt", reason="PyJWT is not installed: pip install 'disco-server[jwt]'")
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: E402
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: E402

KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def pem(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def signed(algorithm: str = "EdDSA", key: Any = None, **claims: Any) -> str:
    whole = {
        "sub": "somebody",
        "aud": "disco",
        "exp": time.time() + 60,
        "disco_role": "participant",
        **claims,
    }
    present = {name: value for name, value in whole.items() if value is not None}
    return str(jwt.encode(present, key or KEYS[algorithm], algorithm))


@pytest.fixture
def access(tmp_path: Path) -> Access:
    path = tmp_path / "key.pem"
    path.write_bytes(pem(KEYS["EdDSA"]))
    return Access(jwt_key=path, jwt_audience="disco")


@pytest.mark.parametrize("algorithm", KEYS)
def test_every_kind_of_public_key_verifies_its_own(tmp_path: Path, algorithm: str) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(pem(KEYS[algorithm]))
    verifier = JwtVerifier(Access(jwt_key=path, jwt_audience="disco"))
    caller = verifier.recognise(signed(algorithm, disco_tasks=["titanic"]))
    assert (caller.name, caller.role, caller.tasks) == ("somebody", Role.PARTICIPANT, frozenset({"titanic"}))


def test_one_of_several_keys_is_found_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys = []
    for name, kind in (("a", jwt.algorithms.ECAlgorithm), ("b", jwt.algorithms.OKPAlgorithm)):
        key = KEYS["ES256" if name == "a" else "EdDSA"]
        keys.append({**json.loads(kind.to_jwk(key.public_key())), "kid": name})
    path.write_text(json.dumps({"keys": keys}))
    verifier = JwtVerifier(Access(jwt_key=path, jwt_audience="disco"))
    claims = {"sub": "x", "aud": "disco", "exp": time.time() + 60, "disco_role": ["viewer", "other"]}
    text = jwt.encode(claims, KEYS["EdDSA"], "EdDSA", headers={"kid": "b"})
    assert verifier.recognise(text).role is Role.VIEWER
    with pytest.raises(Unauthenticated):
        verifier.recognise(jwt.encode(claims, KEYS["EdDSA"], "EdDSA", headers={"kid": "c"}))


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": time.time() - 3600},
        {"exp": None},
        {"aud": "another"},
        {"aud": None},
        {"sub": None},
        {"disco_role": "owner"},
        {"disco_role": None},
        {"nbf": time.time() + 3600},
    ],
    ids=[
        "expired",
        "endless",
        "another audience",
        "no audience",
        "no subject",
        "unknown role",
        "no role",
        "early",
    ],
)
def test_a_jwt_that_lacks_something_is_not_valid(access: Access, claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        JwtVerifier(access).recognise(signed(**claims))


def test_whom_a_jwt_let_in_is_sent_away_when_it_expires(access: Access) -> None:
    expires = time.time() + 60
    caller = JwtVerifier(access).recognise(signed(exp=expires))
    assert caller.objection(set(), expires) is None
    assert "expired" in str(caller.objection(set(), expires + LEEWAY))


def test_another_issuer_is_not_believed(access: Access) -> None:
    verifier = JwtVerifier(replace(access, jwt_issuer="https://id.example"))
    assert verifier.recognise(signed(iss="https://id.example")).name == "somebody"
    with pytest.raises(Unauthenticated):
        verifier.recognise(signed(iss="https://evil.example"))


def test_a_jwt_signed_by_another_key_is_not_valid(access: Access) -> None:
    with pytest.raises(Unauthenticated):
        JwtVerifier(access).recognise(signed(key=ed25519.Ed25519PrivateKey.generate()))


def test_the_public_key_is_no_shared_secret_and_none_is_no_algorithm(access: Access) -> None:
    verifier = JwtVerifier(access)
    claims = {"sub": "x", "aud": "disco", "exp": time.time() + 60, "disco_role": "admin"}
    with pytest.raises(Unauthenticated):
        verifier.recognise(jwt.encode(claims, "", "none"))
    header, payload = signed().split(".")[:2]
    for wrong in ("", ".", "..", "a.b.c", f"{header}.{payload}.", f"{header}.{payload}.AAAA"):
        with pytest.raises(Unauthenticated):
            verifier.recognise(wrong)


def test_a_file_without_a_public_key_is_refused_at_start(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for content in (b"", b"nonsense", b"{}", b'{"keys": []}'):
        path.write_bytes(content)
        with pytest.raises(SettingsError, match="no public key"):
            JwtVerifier(Access(jwt_key=path, jwt_audience="disco"))
    with pytest.raises(SettingsError, match="cannot be read"):
        JwtVerifier(Access(jwt_key=tmp_path / "nothing", jwt_audience="disco"))


def test_a_key_without_an_audience_is_refused() -> None:
    with pytest.raises(SettingsError, match="jwt_audience"):
        Settings.load(environ={"DISCO_ACCESS_JWT_KEY": "key.pem"})


async def test_a_jwt_opens_what_its_role_allows(start: ServerFactory, access: Access) -> None:
    async with start(access=replace(access, join="token", manage="token")) as server:
        header = f"Authorization: Bearer {signed()}\r\n"
        assert (await upgrade(server.ws + "/federated/tiny", header))[0] == 101
        assert (await ask(server.url + "/tasks/tiny", "DELETE", headers=bearer(signed()))).status == 403
        admin = signed(disco_role="admin")
        assert (await ask(server.url + "/tasks/tiny", "DELETE", headers=bearer(admin))).status == 204
