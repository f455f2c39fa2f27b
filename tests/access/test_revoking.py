"""A token that is revoked, or expires, closes what it opened."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import trio

from disco.core.access import Role
from disco.core.names import TaskID
from disco.errors import NotRecognised, Refused, Unauthenticated
from disco.participant import Participant
from disco.settings import Access
from tests.access.http import ask, bearer, token_for
from tests.conftest import Server, ServerFactory
from tests.participant.together import contribute
from tests.web.clients import PATIENCE, connected, packed
from tests.web.test_federated_sockets import mean, same, update

#: The setting in these tests, in seconds, and what a busy machine takes on top.
RECHECK, BUSY = 0.1, 5.0


@pytest.fixture
async def guarded(start: ServerFactory) -> AsyncIterator[Server]:
    """A server that joining and reading need a token for, and that looks at tokens often."""
    async with start(access=Access(join="token", read="token", recheck_seconds=RECHECK)) as server:
        yield server


def revoke(server: Server, *tokens: str) -> None:
    with server.app.gate.tokens.changing() as kept:
        kept[:] = [token for token in kept if all(token.id not in text for text in tokens)]


def tiny(server: Server) -> str:
    return f"{server.ws}/federated/tiny"


async def test_a_revoked_token_closes_the_websockets_that_came_with_it_and_no_other(guarded: Server) -> None:
    revoked, kept = (token_for(guarded.settings, Role.PARTICIPANT) for _ in range(2))
    async with connected(tiny(guarded), revoked) as one, connected(tiny(guarded), kept) as other:
        revoke(guarded, revoked)
        with trio.fail_after(RECHECK + BUSY):
            assert await one.goodbye() == (1008, "this token was revoked")
        await other.say(type="ClientConnected")
        assert (await other.hear())["type"] == "NewFederatedNodeInfo"


async def test_a_token_that_expires_closes_them_too(guarded: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    token = token_for(guarded.settings, Role.PARTICIPANT, expires_at=time.time() + 60)
    async with connected(tiny(guarded), token) as one:
        monkeypatch.setattr(guarded.app.gate, "_clock", lambda: time.time() + 61)
        assert await one.goodbye() == (1008, "this token has expired")


async def test_a_websocket_by_ticket_is_closed_with_its_token(guarded: Server) -> None:
    token = token_for(guarded.settings, Role.PARTICIPANT)
    ticket = (await ask(guarded.url + "/tickets", "POST", headers=bearer(token))).json["ticket"]
    async with connected(f"{tiny(guarded)}?ticket={ticket}") as one:
        revoke(guarded, token)
        assert await one.goodbye() == (1008, "this token was revoked")


async def test_a_ticket_of_a_token_that_was_revoked_meanwhile_opens_nothing(guarded: Server) -> None:
    token = token_for(guarded.settings, Role.PARTICIPANT)
    ticket = (await ask(guarded.url + "/tickets", "POST", headers=bearer(token))).json["ticket"]
    revoke(guarded, token)
    scope = {"type": "websocket", "headers": [], "query_string": f"ticket={ticket}".encode()}
    with pytest.raises(Unauthenticated, match="revoked"):
        guarded.app.gate.recognise(guarded.app.gate.asked(scope))


async def test_a_client_that_takes_no_farewell_is_cut(
    guarded: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disco.runtime.connection.FAREWELL_SECONDS", 0.2)
    token = token_for(guarded.settings, Role.PARTICIPANT)
    host, port = guarded.url.removeprefix("http://").split(":")
    async with await trio.open_tcp_stream(host, int(port)) as deaf:
        await deaf.send_all(
            b"GET /federated/tiny HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Authorization: Bearer " + token.encode() + b"\r\n\r\n"
        )
        assert b" 101 " in await deaf.receive_some()
        revoke(guarded, token)
        with trio.fail_after(RECHECK + BUSY):
            await guarded.app.lobby.empty()


async def test_what_was_contributed_before_counts_and_nothing_after(guarded: Server) -> None:
    goes, stays = (token_for(guarded.settings, Role.PARTICIPANT) for _ in range(2))
    async with (
        connected(tiny(guarded), goes) as one,
        connected(tiny(guarded), stays) as two,
        connected(tiny(guarded), stays) as three,
    ):
        for participant in (one, two, three):
            await participant.say(type="ClientConnected", extensions=["verdicts"])
            await participant.hear_type("NewFederatedNodeInfo")
        await one.say(type="SendPayload", payload=packed(update(1)), round=0, key="before")
        assert (await one.hear_type("ContributionVerdict"))["outcome"] == "accepted"
        revoke(guarded, goes)
        assert (await one.goodbye())[0] == 1008
        for seed, participant in ((2, two), (3, three)):
            await participant.say(type="SendPayload", payload=packed(update(seed)), round=0, key=str(seed))
        assert (await two.hear_type("ReceiveServerPayload"))["round"] == 1
    weights = await guarded.app.directory.round_weights(TaskID("tiny"), 1)
    assert same(weights.arrays(), mean(update(1), update(2), update(3)))


async def test_a_participant_whose_token_was_revoked_is_told_and_gives_up(guarded: Server) -> None:
    token = token_for(guarded.settings, Role.PARTICIPANT)
    async with Participant(guarded.url, "tiny", token=token, patience=600.0) as participant:
        revoke(guarded, token)
        with trio.fail_after(RECHECK + BUSY):
            with pytest.raises(Refused, match=r"revoked|not valid"):
                await contribute(participant, 1.0)
            with pytest.raises(NotRecognised, match="not valid"):
                await contribute(participant, 1.0)


async def test_a_page_that_watches_is_closed_with_its_next_event(
    guarded: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disco.web.stream.HEARTBEAT", 0.1)
    token = token_for(guarded.settings, Role.VIEWER)
    host, port = guarded.url.removeprefix("http://").split(":")
    async with await trio.open_tcp_stream(host, int(port)) as page:
        await page.send_all(
            f"GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        received = b""
        with trio.fail_after(PATIENCE):
            while b"event: state" not in received:
                received += await page.receive_some()
            revoke(guarded, token)
            while not received.endswith(b"0\r\n\r\n"):
                received += await page.receive_some()


async def test_a_token_file_that_cannot_be_read_sends_nobody_away(guarded: Server) -> None:
    token = token_for(guarded.settings, Role.PARTICIPANT)
    async with connected(tiny(guarded), token) as one:
        await one.say(type="ClientConnected")
        await one.hear()
        guarded.app.gate.tokens.path.write_text("{")
        guarded.app.lobby.watched.look()
        await one.say(type="ClientConnected")
        assert (await one.hear())["type"] == "NewFederatedNodeInfo"


async def test_who_showed_no_token_is_not_watched(start: ServerFactory) -> None:
    async with start(access=Access(recheck_seconds=RECHECK)) as server, connected(tiny(server)) as one:
        await one.say(type="ClientConnected")
        await one.hear()
        token_for(server.settings, Role.ADMIN)
        server.app.lobby.watched.look()
        await one.say(type="ClientConnected")
        assert (await one.hear())["type"] == "NewFederatedNodeInfo"
