"""Python participants where a token is needed, and where the server vouches for itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trio

from disco.core.access import Role
from disco.errors import ConnectionLost, DiscoError, NotAllowed, NotRecognised, SettingsError
from disco.participant import BlockingParticipant, Participant, Peer
from disco.participant.address import Address
from disco.participant.attendance import Place
from disco.participant.connection import Deadlines, open_connection
from disco.participant.credentials import Credentials
from disco.participant.http import fetch_task
from disco.settings import Access, Tls, bundled_tasks
from tests.access.certificates import self_signed
from tests.access.http import token_for
from tests.conftest import Server, ServerFactory
from tests.participant.together import exchange_together

SECRET = "disco_0a1b2c3d_" + "S" * 43


@pytest.fixture
async def guarded(start: ServerFactory) -> AsyncIterator[Server]:
    """A server on which everything needs a token."""
    async with start(access=Access(join="token", read="token", manage="token")) as server:
        yield server


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dialect", ["v2", "v3", "v4"])
async def test_participants_with_a_token_take_part(guarded: Server, dialect: str) -> None:
    token = token_for(guarded.settings, Role.PARTICIPANT, "tiny")
    async with (
        Participant(guarded.url, "tiny", dialect=dialect, token=token) as one,
        Participant(guarded.url, "tiny", token=token) as two,
    ):
        models = await exchange_together({one: 1.0, two: 3.0})
    assert models[0][0].flat[0] == 2.0


async def test_a_blocking_participant_with_a_token_joins(guarded: Server) -> None:
    token = token_for(guarded.settings, Role.PARTICIPANT)

    def join() -> int:
        with BlockingParticipant(guarded.url, "tiny", token=token) as participant:
            assert SECRET not in repr(vars(participant))
            return participant.participants

    assert await trio.to_thread.run_sync(join) == 1


async def refused(server: Server, token: str | None) -> DiscoError:
    """Return the error with which joining fails."""
    with trio.fail_after(10), pytest.raises(DiscoError) as refusal:
        async with Participant(server.url, "tiny", token=token):
            pass
    return refusal.value


async def test_without_a_token_one_is_asked_for(guarded: Server) -> None:
    error = await refused(guarded, None)
    assert isinstance(error, NotRecognised)
    assert "needs a token" in str(error)


async def test_a_wrong_token_is_one_sentence_without_it(guarded: Server) -> None:
    error = await refused(guarded, SECRET)
    assert isinstance(error, NotRecognised)
    assert str(error) == "this token is not valid here, or not any more"


async def test_a_token_that_is_not_enough_is_told_from_a_wrong_one(guarded: Server) -> None:
    error = await refused(guarded, token_for(guarded.settings, Role.VIEWER))
    assert isinstance(error, NotAllowed)
    assert "of a viewer, may not join" in str(error)


async def test_a_peer_shows_its_token(start: ServerFactory) -> None:
    async with start(access=Access(join="token"), tasks_dir=bundled_tasks()) as server:
        token = token_for(server.settings, Role.PARTICIPANT)
        async with Peer(server.url, "digits", token=token) as peer:
            assert peer.id
        with pytest.raises(NotRecognised):
            async with Peer(server.url, "digits", token=SECRET):
                pass


@pytest.mark.parametrize("text", ["", " ", "two words", "line\r\nInjected: header", "tökén", "a=b"])
def test_what_can_be_no_token_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(SettingsError, match="token must be one word") as refusal:
        Participant("http://127.0.0.1:8080", "tiny", token=text)
    assert not text.strip() or text not in str(refusal.value)


def test_no_text_that_is_made_of_an_address_has_the_token() -> None:
    address = Address.parse("https://disco.example.org", SECRET)
    place = Place(address, "tiny", Deadlines(), 1.0)  # type: ignore[arg-type]
    for text in (repr(address), str(address), repr(place), repr(address.credentials), address.http("tasks")):
        assert SECRET not in text


async def test_a_token_is_never_logged(guarded: Server, caplog: pytest.LogCaptureFixture) -> None:
    token = token_for(guarded.settings, Role.PARTICIPANT)
    with caplog.at_level(logging.DEBUG):
        async with Participant(guarded.url, "tiny", token=token):
            pass
        await refused(guarded, SECRET)
    assert caplog.text
    assert token not in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://disco.example.org", True),
        ("ws://192.0.2.1:8080", True),
        ("https://disco.example.org", False),
        ("http://127.0.0.1:8080", False),
        ("http://[::1]:8080", False),
        ("http://localhost:8080", False),
    ],
)
def test_a_token_that_would_travel_unencrypted_is_warned_of(
    url: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    Address.parse(url, SECRET)
    assert ("unencrypted" in caplog.text) is warned
    assert SECRET not in caplog.text


async def test_a_token_does_not_follow_a_redirection() -> None:
    seen: list[str | None] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            moved = self.path == "/tasks/tiny"
            self.send_response(302 if moved else 200)
            self.send_header("Location", f"http://{self.headers['Host']}/elsewhere")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        await fetch_task(
            Address(False, "127.0.0.1", server.server_port, "", Credentials(SECRET)), "tiny", 5.0
        )
        server.shutdown()
        serving.join()
    assert seen == [f"Bearer {SECRET}", None]


# ── certificates ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def certified(start: ServerFactory, tmp_path: Path) -> AsyncIterator[tuple[Server, Path]]:
    """A server that signed its own certificate, and the certificate."""
    tls = self_signed(tmp_path)
    assert tls.certfile is not None
    async with start(tls=tls, access=Access(join="token")) as server:
        yield server, tls.certfile


async def test_participants_of_a_server_that_signed_its_own_certificate_name_it(
    certified: tuple[Server, Path],
) -> None:
    server, certificate = certified
    token = token_for(server.settings, Role.PARTICIPANT)
    async with (
        Participant(server.url, "tiny", token=token, ca=certificate) as one,
        Participant(server.url, "tiny", token=token, ca=str(certificate)) as two,
    ):
        models = await exchange_together({one: 1.0, two: 3.0})
    assert models[0][0].flat[0] == 2.0


async def test_a_certificate_that_nobody_vouches_for_is_told_over_http_and_over_websockets(
    certified: tuple[Server, Path],
) -> None:
    address = Address.parse(certified[0].url)
    with pytest.raises(ConnectionLost, match=r"not trusted here.*--ca"):
        await fetch_task(address, "tiny", 5.0)
    with pytest.raises(ConnectionLost, match=r"not trusted here.*--ca"):
        async with open_connection(address, "federated/tiny"):
            pass


async def test_a_certificate_for_another_name_is_told(certified: tuple[Server, Path]) -> None:
    server, certificate = certified
    address = Address.parse(server.url.replace("127.0.0.1", "localhost"), ca=certificate)
    with pytest.raises(ConnectionLost, match="localhost"):
        await fetch_task(address, "tiny", 5.0)


async def test_a_server_without_tls_is_told(guarded: Server) -> None:
    address = Address.parse(guarded.url.replace("http:", "https:"))
    with pytest.raises(ConnectionLost, match="there is no TLS"):
        async with open_connection(address, "federated/tiny"):
            pass


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_what_holds_no_certificate_is_refused_at_once(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match="ca must name a file of certificates"):
        Participant("https://127.0.0.1", "tiny", ca=path)


# ── certificates of one's own ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def wary(start: ServerFactory, tmp_path: Path) -> AsyncIterator[tuple[Server, Tls]]:
    """A server that lets nobody in without a certificate, and the certificate that is its own and its clients'."""
    made = self_signed(tmp_path)
    async with start(tls=replace(made, ca_certs=made.certfile), tasks_dir=bundled_tasks()) as server:
        yield server, made


@pytest.mark.parametrize("dialect", ["v2", "v4"])
async def test_participants_with_a_certificate_are_let_in(wary: tuple[Server, Tls], dialect: str) -> None:
    server, tls = wary
    mine = {"ca": tls.certfile, "cert": tls.certfile, "key": tls.keyfile}
    async with Participant(server.url, "titanic", dialect=dialect, **mine) as participant:  # type: ignore[arg-type]
        assert participant.weights
    async with Peer(server.url, "digits", **mine) as peer:  # type: ignore[arg-type]
        assert peer.id


async def test_a_certificate_and_its_key_may_be_in_one_file(wary: tuple[Server, Tls], tmp_path: Path) -> None:
    server, tls = wary
    assert tls.certfile is not None
    assert tls.keyfile is not None
    both = tmp_path / "both.pem"
    both.write_bytes(tls.certfile.read_bytes() + tls.keyfile.read_bytes())
    async with Participant(server.url, "titanic", ca=str(tls.certfile), cert=str(both)) as participant:
        assert participant.weights


async def test_who_has_no_certificate_is_told_over_http_and_over_websockets(wary: tuple[Server, Tls]) -> None:
    server, tls = wary
    address = Address.parse(server.url, ca=tls.certfile)
    with pytest.raises(ConnectionLost, match=r"lets nobody in without a certificate.*--cert"):
        await fetch_task(address, "titanic", 5.0)
    with pytest.raises(ConnectionLost, match=r"lets nobody in without a certificate.*--cert"):
        async with open_connection(address, "federated/titanic"):
            pass


def test_what_is_no_certificate_and_its_key_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    mine, other = self_signed(tmp_path), self_signed(tmp_path / "other")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_bytes(b"nonsense")
    for cert, key, sentence in (
        (tmp_path / "missing.pem", None, "cert must name a file in PEM"),
        (mine.certfile, tmp_path / "missing.key", "key must name a file in PEM"),
        (nonsense, None, "cert and key must name a certificate and its private key"),
        (mine.certfile, None, "cert and key must name a certificate and its private key"),
        (mine.certfile, other.keyfile, "cert and key must name a certificate and its private key"),
        (None, mine.keyfile, "key must be given together with cert"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            Participant("https://127.0.0.1", "tiny", cert=cert, key=key)


def test_an_encrypted_key_is_refused_instead_of_asked_about(tmp_path: Path) -> None:
    mine = self_signed(tmp_path, password=b"secret")
    with pytest.raises(SettingsError, match="not encrypted"):
        Participant("https://127.0.0.1", "tiny", cert=mine.certfile, key=mine.keyfile)
