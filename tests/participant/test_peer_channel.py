"""Data channels without a hub: two ends, whose signals are passed by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partialmethod
from typing import Any

import pytest
import trio

pytest.importorskip("aiortc")
import aioice

from disco.errors import ConnectionLost
from disco.participant.channel import DataChannel
from disco.participant.webrtc import IceServer, WebRTC, ice_configuration, open_webrtc

CHUNK_BYTES = 16_384


@pytest.fixture
async def webrtc() -> AsyncIterator[WebRTC]:
    async with open_webrtc(ice_configuration()) as opened:
        yield opened


def trickle(signal: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Take the candidates out of a description, and send each after it, as simple-peer does."""
    lines = str(signal["sdp"]).splitlines(keepends=True)
    candidates = [line for line in lines if line.startswith(("a=candidate", "a=end-of-candidates"))]
    description = {**signal, "sdp": "".join(line for line in lines if line not in candidates)}
    return [
        description,
        *(
            {
                "type": "candidate",
                "candidate": {
                    "candidate": line.removeprefix("a=").strip(),
                    "sdpMLineIndex": 0,
                    "sdpMid": "0",
                },
            }
            for line in candidates
            if line.startswith("a=candidate")
        ),
    ]


@asynccontextmanager
async def pair(webrtc: WebRTC, *, trickled: bool = False) -> AsyncIterator[tuple[DataChannel, DataChannel]]:
    """Two ends of one channel, open."""
    ends: list[DataChannel] = []

    async def to(index: int, signal: Mapping[str, Any]) -> None:
        for piece in trickle(signal) if trickled else [signal]:
            ends[index].signal(piece)

    async def to_first(signal: Mapping[str, Any]) -> None:
        await to(0, signal)

    async def to_second(signal: Mapping[str, Any]) -> None:
        await to(1, signal)

    ends.append(webrtc.open_channel(initiator=True, chunk_bytes=CHUNK_BYTES, send_signal=to_second))
    ends.append(webrtc.open_channel(initiator=False, chunk_bytes=CHUNK_BYTES, send_signal=to_first))
    with trio.fail_after(30):
        await ends[0].wait_open()
        await ends[1].wait_open()
    yield ends[0], ends[1]
    for end in ends:
        await end.aclose()


async def ignore(signal: Mapping[str, Any]) -> None:
    pass


@pytest.mark.parametrize("trickled", [False, True])
async def test_messages_arrive_whole_and_in_order_both_ways(webrtc: WebRTC, trickled: bool) -> None:
    messages = [b"", b"x", bytes(range(256)) * 200]
    async with pair(webrtc, trickled=trickled) as (first, second):
        for message in messages:
            await first.send(message)
            await second.send(message[::-1])
        with trio.fail_after(10):
            assert [await second.receive() for _ in messages] == messages
            assert [await first.receive() for _ in messages] == [message[::-1] for message in messages]


async def test_what_was_sent_before_the_end_is_still_received(webrtc: WebRTC) -> None:
    async with pair(webrtc) as (first, second):
        await first.send(b"last words")
        await first.drain()
        await first.aclose()
        with trio.fail_after(10):
            await second.closed.wait()
            assert await second.receive() == b"last words"
            with pytest.raises(ConnectionLost):
                await second.receive()


async def test_a_closed_channel_sends_nothing(webrtc: WebRTC) -> None:
    async with pair(webrtc) as (first, _):
        await first.aclose()
        with pytest.raises(ConnectionLost):
            await first.send(b"x")


@pytest.mark.parametrize(
    "signal",
    [
        {"type": "offer", "sdp": "nonsense"},
        {"type": "answer", "sdp": "v=0\r\n"},
        {"type": "offer", "sdp": "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"},
    ],
)
async def test_a_description_that_makes_no_sense_closes_the_channel(
    webrtc: WebRTC, signal: Mapping[str, Any]
) -> None:
    channel = webrtc.open_channel(initiator=False, chunk_bytes=CHUNK_BYTES, send_signal=ignore)
    channel.signal(signal)
    with trio.fail_after(10), pytest.raises(ConnectionLost):
        await channel.wait_open()


@pytest.mark.parametrize(
    "signal",
    [
        {},
        {"type": "renegotiate", "renegotiate": True},
        {"type": "candidate", "candidate": None},
        {"type": "candidate", "candidate": {"candidate": ""}},
        {"type": "candidate", "candidate": {"candidate": "candidate:1 1 udp", "sdpMid": "0"}},
        {"type": "candidate", "candidate": {"candidate": "candidate:1 1 tcp 1 192.0.2.1 9 typ host"}},
    ],
)
async def test_other_signals_harm_no_channel(webrtc: WebRTC, signal: Mapping[str, Any]) -> None:
    async with pair(webrtc) as (first, second):
        second.signal(signal)
        await first.send(b"still here")
        with trio.fail_after(10):
            assert await second.receive() == b"still here"


async def test_a_peer_that_sends_no_chunks_is_cut_off(webrtc: WebRTC) -> None:
    async with pair(webrtc) as (first, second):
        second._take(b"\x00")
        with trio.fail_after(10):
            await first.closed.wait()
            await second.closed.wait()


async def test_a_peer_that_sends_more_than_a_round_has_is_cut_off(webrtc: WebRTC) -> None:
    async with pair(webrtc) as (first, second):
        for _ in range(9):
            await first.send(b"again")
        with trio.fail_after(10):
            await second.closed.wait()
        assert [await second.receive() for _ in range(8)] == [b"again"] * 8


async def test_a_flood_of_signals_closes_the_channel(webrtc: WebRTC) -> None:
    channel = webrtc.open_channel(initiator=False, chunk_bytes=CHUNK_BYTES, send_signal=ignore)
    for _ in range(257):
        channel.signal({})
    assert channel.closed.is_set()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give ICE servers a fifth of a second to answer, instead of aioice's five."""
    gather = aioice.Connection.get_component_candidates
    monkeypatch.setattr(aioice.Connection, "get_component_candidates", partialmethod(gather, timeout=0.2))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("server", ["stun:127.0.0.1:9", IceServer("turn:127.0.0.1:9", "name", "secret")])
async def test_ice_servers_that_are_down_do_not_keep_neighbours_apart(server: str | IceServer) -> None:
    async with open_webrtc(ice_configuration([server])) as webrtc, pair(webrtc) as (first, second):
        await first.send(b"hello")
        with trio.fail_after(10):
            assert await second.receive() == b"hello"
