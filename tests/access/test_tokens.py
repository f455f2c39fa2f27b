"""Tokens and roles: what is kept, who is recognised, and who may do what."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from disco.cli import main
from disco.core.access import (
    GRANTS,
    ID_BYTES,
    SECRET_BYTES,
    Caller,
    Deed,
    Role,
    Token,
    Wish,
    mint,
    recognise,
    require,
)
from disco.errors import Forbidden, StorageError, Unauthenticated
from disco.storage.tokens import TokenFile

NOW = 1_000_000.0


def made(role: Role = Role.ADMIN, **wish: object) -> tuple[str, Token]:
    return mint(Wish(role, **wish), os.urandom(ID_BYTES + SECRET_BYTES), NOW)  # type: ignore[arg-type]


def test_what_is_kept_of_a_token_lets_nobody_use_it() -> None:
    text, token = made()
    secret = text.removeprefix(f"disco_{token.id}_")
    assert len(secret) == 43
    assert secret not in json.dumps(token.document())


@given(
    st.binary(min_size=ID_BYTES + SECRET_BYTES, max_size=ID_BYTES + SECRET_BYTES),
    st.sampled_from(list(Role)),
    st.none() | st.frozensets(st.text(min_size=1)),
    st.just(math.inf) | st.floats(1, 1e12),
)
def test_a_token_is_recognised_from_what_is_kept_of_it(
    entropy: bytes, role: Role, tasks: frozenset[str] | None, expires: float
) -> None:
    text, token = mint(Wish(role, tasks, expires), entropy, 0.0)
    kept = Token.from_document(json.loads(json.dumps(token.document())))
    assert kept == token
    assert recognise(text, [kept], 0.5) == Caller(token.id, role, tasks, token.digest, expires)


def test_one_changed_letter_is_another_token() -> None:
    text, token = made()
    for index in range(len("disco_"), len(text)):
        wrong = text[:index] + ("A" if text[index] != "A" else "B") + text[index + 1 :]
        with pytest.raises(Unauthenticated):
            recognise(wrong, [token], NOW)


@pytest.mark.parametrize(
    "text", ["", "disco_", "disco__", "disco_00000000_", "Bearer", "é" * 100, "x" * 10_000]
)
def test_anything_else_is_no_token(text: str) -> None:
    with pytest.raises(Unauthenticated):
        recognise(text, [made()[1]], NOW)


def test_a_token_is_not_valid_from_its_expiry_on() -> None:
    text, token = made(expires_at=NOW + 10)
    assert recognise(text, [token], NOW + 9.9).role is Role.ADMIN
    with pytest.raises(Unauthenticated, match="expired"):
        recognise(text, [token], NOW + 10)


def test_who_was_recognised_is_objected_to_once_the_token_is_gone_or_has_expired() -> None:
    text, token = made(expires_at=NOW + 10)
    caller = recognise(text, [token], NOW)
    assert caller.objection({token.digest}, NOW + 9.9) is None
    assert "expired" in str(caller.objection({token.digest}, NOW + 10))
    assert "revoked" in str(caller.objection(set(), NOW))


def test_who_has_no_token_that_is_kept_is_not_revoked() -> None:
    assert Caller("a JWT's subject", Role.PARTICIPANT).objection(set(), NOW) is None


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("deed", list(Deed))
def test_a_role_may_what_its_row_of_the_table_says(role: Role, deed: Deed) -> None:
    allowed = {
        Role.VIEWER: {Deed.LIST, Deed.READ},
        Role.PARTICIPANT: {Deed.LIST, Deed.READ, Deed.JOIN},
        Role.ADMIN: {Deed.LIST, Deed.READ, Deed.JOIN, Deed.ADD, Deed.MANAGE},
    }
    assert GRANTS[role] == allowed[role]
    assert Caller("x", role).may(deed, "t") == (deed in allowed[role])


@pytest.mark.parametrize("deed", list(Deed))
def test_a_token_for_one_task_opens_no_other(deed: Deed) -> None:
    caller = Caller("x", Role.ADMIN, frozenset({"mine"}))
    require(deed, "mine", caller, closed=True)
    with pytest.raises(Forbidden):
        require(deed, "another", caller, closed=True)


def test_what_is_open_needs_nobody() -> None:
    for deed in Deed:
        require(deed, "t", None, closed=False)
        with pytest.raises(Unauthenticated):
            require(deed, "t", None, closed=True)


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_file_is_its_owners_and_changes_are_seen_by_who_has_read_it(tmp_path: Path) -> None:
    reader, writer = TokenFile(tmp_path), TokenFile(tmp_path)
    assert reader.read() == ()
    _, token = made()
    with writer.changing() as tokens:
        tokens.append(token)
    assert reader.read() == (token,)
    assert reader.path.stat().st_mode & 0o777 == 0o600
    with writer.changing() as tokens:
        tokens.clear()
    assert reader.read() == ()


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    file = TokenFile(tmp_path)
    with file.changing() as tokens:
        tokens.append(made()[1])
    before = file.path.read_bytes()
    with pytest.raises(ZeroDivisionError), file.changing() as tokens:
        tokens.append(tokens[1 // 0])
    assert file.path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"version": 1}', '{"version": 1, "tokens": [{}]}', '{"version": 2, "tokens": []}'],
)
def test_a_damaged_file_lets_nobody_in(tmp_path: Path, content: str) -> None:
    file = TokenFile(tmp_path)
    file.path.write_text(content)
    with pytest.raises(StorageError):
        file.read()


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────


def disco(*arguments: str, data: Path) -> str:
    done = CliRunner().invoke(main, ["tokens", *arguments, "--data-dir", str(data)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_create_prints_a_token_once_and_list_never_again(tmp_path: Path) -> None:
    text = disco(
        "create", "--role", "participant", "--task", "titanic", "--note", "Hospital A", data=tmp_path
    ).strip()
    caller = recognise(text, TokenFile(tmp_path).read(), NOW)
    assert (caller.role, caller.tasks) == (Role.PARTICIPANT, frozenset({"titanic"}))
    listed = disco("list", data=tmp_path)
    assert "Hospital A" in listed
    assert text not in listed
    assert text not in (tmp_path / "tokens.json").read_text()


def test_a_revoked_token_is_gone(tmp_path: Path) -> None:
    text = disco("create", "--role", "admin", data=tmp_path).strip()
    id_ = json.loads(disco("list", "--json", data=tmp_path))[0]["id"]
    disco("revoke", id_, data=tmp_path)
    with pytest.raises(Unauthenticated):
        recognise(text, TokenFile(tmp_path).read(), NOW)


@pytest.mark.parametrize("expires", ["yesterday", "5x", "2001-01-01", ""])
def test_a_time_that_is_none_is_refused(tmp_path: Path, expires: str) -> None:
    arguments = ["tokens", "create", "--role", "admin", "--expires", expires, "--data-dir", str(tmp_path)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "--expires" in done.output


def test_revoking_what_is_not_there_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["tokens", "revoke", "00000000", "--data-dir", str(tmp_path)])
    assert done.exit_code == 1
    assert "no token 00000000" in done.output
