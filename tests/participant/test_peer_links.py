"""Which channel a signal is for, who begins it, and what becomes of what goes over it: with channels made of lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgpack
import numpy as np
import pytest
import trio
import trio.testing

pytest.importorskip("aiortc")

from disco.core.names import ParticipantID
from disco.core.weights import Weights
from disco.errors import ConnectionLost, LimitExceeded, MalformedMessage, PeersLost, ProtocolViolation
from disco.participant.channel import DataChannel, SendSignal
from disco.participant.links import V2_OFFER_SECONDS, Links
from disco.wire.peer import PeerMessage, Stage, encode

ME, A, B = ParticipantID("10"), ParticipantID("9"), ParticipantID("11")
OFFER = msgpack.packb({"type": "offer", "sdp": "…"})
WEIGHTS = Weights.from_arrays([np.ones(2)])


class FakeChannel:
    """Remembers what it is given, and returns what the test puts in."""

    def __init__(self, initiator: bool, send_signal: SendSignal) -> None:
        self.initiator = initiator
        self.send_signal = send_signal
        self.signals: list[Mapping[str, Any]] = []
        self.sent: list[bytes] = []
        self.failure: Exception | None = None
        self.is_open = False
        self.settled = trio.Event()
        self.closed = trio.Event()
        self.arrive, self.arrived = trio.open_memory_channel[bytes](8)

    def signal(self, signal: Mapping[str, Any]) -> None:
        self.signals.append(signal)

    def open(self) -> None:
        self.is_open = True
        self.settled.set()

    def abandon(self) -> None:
        self.is_open = False
        self.closed.set()
        self.settled.set()
        self.arrive.close()

    async def wait_open(self) -> None:
        await self.settled.wait()
        if self.closed.is_set():
            raise ConnectionLost("closed")

    async def send(self, message: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        if self.closed.is_set():
            raise ConnectionLost("closed")
        self.sent.append(message)

    async def receive(self) -> bytes:
        try:
            return await self.arrived.receive()
        except trio.EndOfChannel:
            raise ConnectionLost("closed") from None


class FakeChannels:
    def __init__(self) -> None:
        self.made: list[FakeChannel] = []

    def open_channel(self, *, initiator: bool, chunk_bytes: int, send_signal: SendSignal) -> DataChannel:
        self.made.append(FakeChannel(initiator, send_signal))
        return cast("DataChannel", self.made[-1])


@pytest.fixture
def channels() -> FakeChannels:
    return FakeChannels()


def links(
    channels: FakeChannels, dialect: str = "v2", own: ParticipantID = ME, secure: bool = False
) -> Links:
    async def send_signal(to: ParticipantID, signal: bytes) -> None:
        raise AssertionError("no test sends one")

    return Links(channels, dialect, own, secure=secure, send_signal=send_signal)


def from_peer(stage: Stage, number: int = 0, dialect: str = "v2") -> bytes:
    return encode(PeerMessage(stage, ME, WEIGHTS, number), dialect)


async def clear_swap(subject: Links, *peers: ParticipantID, number: int = 0) -> dict[ParticipantID, Weights]:
    return await subject.swap(dict.fromkeys(peers, WEIGHTS), Stage.WEIGHTS, number, WEIGHTS.shapes)


# ── Which channel ────────────────────────────────────────────────────────────────────────────────────────


async def test_an_offer_to_a_v2_peer_lets_it_learn_of_its_round_first(
    channels: FakeChannels, autojump_clock: trio.testing.MockClock
) -> None:
    sent: list[tuple[str, float]] = []

    async def send_signal(to: ParticipantID, signal: bytes) -> None:
        sent.append((msgpack.unpackb(signal)["type"], trio.current_time()))

    for dialect in ("v2", "v4"):
        Links(channels, dialect, ME, secure=False, send_signal=send_signal).prepare((A,))
        await channels.made[-1].send_signal({"type": "offer"})
        await channels.made[-1].send_signal({"type": "answer"})
    assert sent == [(kind, V2_OFFER_SECONDS) for kind in ("offer", "answer") * 2]


def test_v2_peers_are_ordered_as_numbers_and_the_larger_one_offers(channels: FakeChannels) -> None:
    subject = links(channels)
    subject.prepare((A, B))
    assert [channel.initiator for channel in channels.made] == [True, False]
    assert subject.sort((B, ME, A)) == (A, ME, B)


def test_v3_peers_are_ordered_as_text_and_the_larger_one_offers(channels: FakeChannels) -> None:
    subject = links(channels, "v3")
    subject.prepare((A, B))
    assert [channel.initiator for channel in channels.made] == [False, False]
    assert subject.sort((B, ME, A)) == (ME, B, A)


def test_a_channel_is_kept_for_the_next_round(channels: FakeChannels) -> None:
    subject = links(channels)
    subject.prepare((A,))
    subject.prepare((A,))
    assert len(channels.made) == 1


def test_a_broken_channel_is_replaced_for_the_next_round(channels: FakeChannels) -> None:
    subject = links(channels)
    subject.prepare((A,))
    channels.made[0].abandon()
    subject.prepare((A,))
    assert len(channels.made) == 2


def test_who_was_dropped_gets_another_channel_though_the_old_one_was_open(channels: FakeChannels) -> None:
    subject = links(channels)
    subject.prepare((A, B))
    channels.made[0].open()
    subject.drop((A, B))
    subject.prepare((B,))
    assert all(channel.closed.is_set() for channel in channels.made[:2])
    assert [channel.initiator for channel in channels.made] == [True, False, False]


# ── Signals ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_offer_is_for_the_channel_that_waits_for_it(channels: FakeChannels) -> None:
    subject = links(channels)
    subject.prepare((B,))
    subject.signal(B, OFFER)
    assert channels.made[0].signals == [{"type": "offer", "sdp": "…"}]


def test_a_second_offer_begins_another_channel(channels: FakeChannels) -> None:
    subject = links(channels)
    subject.prepare((B,))
    subject.signal(B, OFFER)
    subject.signal(B, OFFER)
    assert channels.made[0].closed.is_set()
    assert len(channels.made[1].signals) == 1


@pytest.mark.parametrize("signal", [b"", b"\xc1", msgpack.packb([1]), msgpack.packb({1: 2})[:-1]])
def test_signals_that_are_no_map_are_passed_over(channels: FakeChannels, signal: bytes) -> None:
    subject = links(channels)
    subject.prepare((A,))
    subject.signal(A, signal)
    assert channels.made[0].signals == []


def test_signals_of_a_stranger_are_passed_over(channels: FakeChannels) -> None:
    links(channels).signal(A, OFFER)
    assert channels.made == []


async def test_waiting_for_a_channel_follows_it_to_its_successor(channels: FakeChannels) -> None:
    subject = links(channels)
    subject.prepare((B,))
    subject.signal(B, OFFER)
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(subject.opened, (B,))
            await trio.testing.wait_all_tasks_blocked()
            subject.signal(B, OFFER)
            channels.made[1].open()


async def test_a_channel_that_closes_while_it_is_waited_for_is_lost(channels: FakeChannels) -> None:
    subject = links(channels)
    subject.prepare((A, B))
    channels.made[0].open()
    channels.made[1].abandon()
    with pytest.raises(PeersLost) as caught:
        await subject.opened((A, B))
    assert caught.value.peers == (B,)


# ── What goes over it ────────────────────────────────────────────────────────────────────────────────────


async def test_what_came_early_is_taken_when_its_turn_comes(channels: FakeChannels) -> None:
    subject = links(channels)
    subject.prepare((A,))
    await channels.made[0].arrive.send(from_peer(Stage.WEIGHTS))
    received = await clear_swap(subject, A)
    assert received[A].equals(WEIGHTS)


async def test_a_payload_of_an_older_round_is_passed_over(channels: FakeChannels) -> None:
    subject = links(channels, "v4")
    subject.prepare((A,))
    for number in (3, 4):
        await channels.made[0].arrive.send(from_peer(Stage.WEIGHTS, number, "v4"))
    await clear_swap(subject, A, number=4)
    with pytest.raises(trio.WouldBlock):
        channels.made[0].arrived.receive_nowait()


async def test_who_left_after_giving_its_weights_is_not_missed(channels: FakeChannels) -> None:
    subject = links(channels)
    subject.prepare((A,))
    await channels.made[0].arrive.send(from_peer(Stage.WEIGHTS))
    channels.made[0].abandon()
    assert set(await clear_swap(subject, A)) == {A}


async def test_who_left_before_is_named(channels: FakeChannels) -> None:
    subject = links(channels)
    subject.prepare((A, B))
    await channels.made[0].arrive.send(from_peer(Stage.WEIGHTS))
    channels.made[1].abandon()
    with pytest.raises(PeersLost, match="11 left the round") as caught:
        await clear_swap(subject, A, B)
    assert caught.value.peers == (B,)


async def test_a_peer_in_another_stage_is_named(channels: FakeChannels) -> None:
    subject = links(channels)
    subject.prepare((A,))
    await channels.made[0].arrive.send(from_peer(Stage.SHARES))
    with pytest.raises(ProtocolViolation, match="peer 9: it sent shares where weights are due"):
        await clear_swap(subject, A)


async def test_a_peer_that_sends_nonsense_is_named(channels: FakeChannels) -> None:
    subject = links(channels)
    subject.prepare((A,))
    await channels.made[0].arrive.send(b"nonsense")
    with pytest.raises(MalformedMessage, match="peer 9"):
        await clear_swap(subject, A)


async def test_a_model_that_no_channel_can_carry_is_an_error_of_ours(channels: FakeChannels) -> None:
    subject = links(channels)
    subject.prepare((A,))
    channels.made[0].failure = LimitExceeded("too large")
    with pytest.raises(LimitExceeded, match="too large"):
        await clear_swap(subject, A)
