"""The parts of a federated participant that need no server: addresses, retries, what it knows, and its connection."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from functools import partial

import numpy as np
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio_websocket import WebSocketRequest, serve_websocket
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request

from disco.core.messages import (
    Enough,
    GlobalModel,
    Message,
    Outcome,
    ParticipantsChanged,
    Statistics,
    Verdict,
    WaitingForMore,
    Welcome,
)
from disco.core.names import ParticipantID
from disco.core.weights import Weights
from disco.errors import ConnectionLost, DiscoError, Refused, SettingsError, TextMessage
from disco.participant.address import Address
from disco.participant.connection import Deadlines, open_connection
from disco.participant.retries import LONGEST_SECONDS, Retries
from disco.participant.standing import HABITS, Outstanding, Standing

# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "http"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/tasks"),
        ("ws://127.0.0.1:8080/", "http://127.0.0.1:8080/tasks"),
        ("https://disco.example", "https://disco.example/tasks"),
        ("wss://disco.example:443", "https://disco.example/tasks"),
        ("http://disco.example:80/", "http://disco.example/tasks"),
        ("https://lab.example/disco/", "https://lab.example/disco/tasks"),
        ("http://[::1]:8080", "http://[::1]:8080/tasks"),
    ],
)
def test_an_address_is_read_from_any_form_of_url(url: str, http: str) -> None:
    assert Address.parse(url).http("tasks") == http


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://disco.example", "http://", "http://host:port"])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(SettingsError, match="url"):
        Address.parse(url)


# ── retries ──────────────────────────────────────────────────────────────────────────────────────────────


def test_delays_double_up_to_the_longest() -> None:
    retries = Retries(1000.0, random.Random(1))
    now, delays = 0.0, []
    for _ in range(12):
        delay = retries.after_failure(now, 0.0)
        assert delay is not None
        delays.append(delay)
        now += delay
    assert delays[0] <= 0.2
    assert all(0.1 * 2**n <= delay <= 0.2 * 2**n for n, delay in enumerate(delays[:6]))
    assert all(LONGEST_SECONDS / 2 <= delay <= LONGEST_SECONDS for delay in delays[-4:])


def test_a_connection_that_was_good_for_long_begins_anew() -> None:
    retries = Retries(10.0, random.Random(1))
    for now in (0.0, 5.0, 9.0):
        retries.after_failure(now, 0.0)
    delay = retries.after_failure(100.0, 60.0)
    assert delay is not None
    assert delay <= 0.2


def test_one_that_breaks_at_once_does_not_renew_patience() -> None:
    retries = Retries(10.0, random.Random(1))
    assert retries.after_failure(0.0, 0.0) is not None
    assert retries.after_failure(10.0, 0.1) is None


@given(st.lists(st.floats(0.0, 20.0), max_size=30), st.floats(0.1, 60.0), st.integers())
def test_no_try_is_planned_after_patience_has_ended(pauses: list[float], patience: float, seed: int) -> None:
    retries, now = Retries(patience, random.Random(seed)), 0.0
    for pause in pauses:
        delay = retries.after_failure(now, 0.0)
        assert delay is None or now + delay <= patience + 1e-9
        now += pause


# ── what is known ────────────────────────────────────────────────────────────────────────────────────────

ME = ParticipantID("me")


def model(value: float) -> Weights:
    return Weights.from_arrays([np.full((2,), value)])


def standing(dialect: str = "v4", round_: int = 0) -> tuple[Standing, Outstanding]:
    """Somebody who has contributed to a round."""
    known = Standing(HABITS[dialect])
    known.adopt(round_, model(0.0))
    made = Outstanding(round_, "key", b"", sent=True)
    known.put_out(made)
    return known, made


def test_an_accepted_contribution_waits_for_the_next_model() -> None:
    known, made = standing()
    known.take(Verdict(0, Outcome.ACCEPTED, "", "key"))
    assert known.unresolved is made
    known.take(GlobalModel(1, model(1.0), 2, pushed=True))
    assert isinstance(made.outcome, Weights)
    assert known.round == 1


def test_a_rejected_one_ends_with_the_reason_and_keeps_the_round() -> None:
    known, made = standing()
    known.take(Verdict(0, Outcome.REJECTED, "not finite", "key"))
    known.take(GlobalModel(0, model(0.0), 2, pushed=False))
    assert isinstance(made.outcome, Refused)
    assert str(made.outcome) == "not finite"
    assert known.round == 0


def test_a_verdict_on_another_contribution_is_not_ours() -> None:
    known, made = standing()
    known.take(Verdict(0, Outcome.REJECTED, "not finite", "an earlier key"))
    assert made.outcome is None


def test_the_model_of_its_own_round_does_not_end_an_exchange() -> None:
    known, made = standing()
    known.take(GlobalModel(0, model(0.0), 2, pushed=False))
    assert made.outcome is None


def test_who_is_discarded_in_its_own_round_has_been_forgotten_until_it_reconnects() -> None:
    known, made = standing()
    steps: list[Callable[[], object]] = [
        lambda: known.take(Verdict(0, Outcome.DISCARDED, "its sender has not said so", "key")),
        lambda: known.take(GlobalModel(0, model(0.0), 2, pushed=False)),
        lambda: known.lose(None),
    ]
    forgotten = []
    for step in steps:
        step()
        forgotten.append(known.forgotten)
    assert forgotten == [False, True, False]
    assert known.unresolved is made


def test_a_training_that_started_anew_is_adopted_though_its_round_is_earlier() -> None:
    known, made = standing(round_=7)
    known.take(Verdict(7, Outcome.DISCARDED, "round 7 has not begun", "key"))
    known.take(GlobalModel(0, model(5.0), 2, pushed=False))
    assert isinstance(made.outcome, Weights)
    assert known.round == 0


def test_a_welcome_without_a_model_keeps_ours_only_if_its_round_is_ours() -> None:
    known, _ = standing(round_=0)
    known.take(Welcome(ME, 0, Weights((), ()), waiting=False, participants=2))
    assert not known.lacks_model
    known, _ = standing(round_=7)
    known.take(Welcome(ME, 0, Weights((), ()), waiting=False, participants=2))
    assert known.lacks_model


def test_a_v2_participant_asks_for_the_model_once_the_statistics_show_another_round() -> None:
    known, _ = standing("v2")
    assert type(known.question()).__name__ == "StatisticsRequested"
    known.take(Statistics(1, 2, 2, 2.0))
    assert type(known.question()).__name__ == "ModelRequested"


def test_to_a_v3_participant_the_model_of_its_own_round_is_a_refusal() -> None:
    known, made = standing("v3")
    known.take(GlobalModel(0, model(0.0), 2, pushed=True))
    assert isinstance(made.outcome, Refused)


counts = st.integers(1, 5)
rounds = st.integers(0, 3)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(GlobalModel, rounds, st.builds(model, st.floats(-1, 1)), counts, pushed=st.booleans()),
    st.builds(
        Verdict, rounds, st.sampled_from(Outcome), st.just("why"), st.sampled_from(["key", "other", None])
    ),
    st.builds(WaitingForMore, counts),
    st.builds(Enough, counts),
    st.builds(ParticipantsChanged, counts),
    st.builds(Statistics, rounds, counts, counts, st.just(1.0)),
    st.builds(Welcome, st.just(ME), rounds, st.just(Weights((), ())), st.booleans(), counts),
)


@given(st.sampled_from(["v2", "v3", "v4"]), st.lists(messages, max_size=12))
def test_a_model_ends_an_exchange_exactly_when_its_round_is_another(
    dialect: str, said: list[Message]
) -> None:
    known, made = standing(dialect)
    for message in said:
        known.take(message)
    if isinstance(made.outcome, Weights):
        assert any(isinstance(message, GlobalModel) and message.round != 0 for message in said)
    elif made.outcome is None:
        assert known.round == 0


# ── the connection ───────────────────────────────────────────────────────────────────────────────────────


async def served(nursery: trio.Nursery, answer: Callable[[WebSocketRequest], Awaitable[None]]) -> Address:
    """Start a WebSocket server that answers each request with a function."""
    server = await nursery.start(serve_websocket, answer, "127.0.0.1", 0, None)
    return Address(False, "127.0.0.1", server.port)


async def tcp_served(
    nursery: trio.Nursery, behave: Callable[[trio.SocketStream], Awaitable[None]]
) -> Address:
    """Start a TCP server that treats each connection with a function."""
    (listener,) = await nursery.start(partial(trio.serve_tcp, behave, 0, host="127.0.0.1"))
    return Address(False, "127.0.0.1", listener.socket.getsockname()[1])


async def freeze(stream: trio.SocketStream) -> None:
    """Shake hands, and never read or say anything again."""
    protocol = WSConnection(ConnectionType.SERVER)
    protocol.receive_data(bytes(await stream.receive_some()))
    assert isinstance(next(protocol.events()), Request)
    await stream.send_all(protocol.send(AcceptConnection()))
    await trio.sleep_forever()


HASTY = Deadlines(answer=0.3, quiet=0.1, silence=0.3)


async def listen(address: Address) -> None:
    """Receive until the connection ends."""
    async with open_connection(address, "x", HASTY) as connection:
        while True:
            await connection.receive()


async def pour(address: Address) -> None:
    """Send for ever."""
    async with open_connection(address, "x", Deadlines(answer=0.3)) as connection:
        while True:
            await connection.send(bytes(1 << 20))


async def ending(answer: Callable[[WebSocketRequest], Awaitable[None]]) -> DiscoError:
    """How a connection to such a server ends for whoever receives."""
    async with trio.open_nursery() as nursery:
        address = await served(nursery, answer)
        with trio.fail_after(10), pytest.raises(DiscoError) as end:
            await listen(address)
        nursery.cancel_scope.cancel()
    return end.value


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009])
async def test_a_close_frame_that_blames_us_is_a_refusal_with_its_reason(code: int) -> None:
    async def blame(request: WebSocketRequest) -> None:
        await (await request.accept()).aclose(code, "too much")

    end = await ending(blame)
    assert isinstance(end, Refused)
    assert str(end) == "too much"


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1013])
async def test_any_other_close_frame_is_a_lost_connection(code: int) -> None:
    async def leave(request: WebSocketRequest) -> None:
        await (await request.accept()).aclose(code, "restarting")

    end = await ending(leave)
    assert isinstance(end, ConnectionLost)
    assert str(end) == "restarting"


@pytest.mark.parametrize(
    ("status", "kind"), [(404, Refused), (403, Refused), (503, ConnectionLost), (429, ConnectionLost)]
)
async def test_a_refused_upgrade_has_the_servers_sentence(status: int, kind: type[DiscoError]) -> None:
    async def refuse(request: WebSocketRequest) -> None:
        await request.reject(status, body=b'{"error": "not here"}')

    end = await ending(refuse)
    assert isinstance(end, kind)
    assert str(end) == "not here"


async def test_a_text_frame_is_a_violation() -> None:
    async def chat(request: WebSocketRequest) -> None:
        await (await request.accept()).send_message("hello")

    assert isinstance(await ending(chat), TextMessage)


async def test_a_server_that_answers_no_ping_is_given_up() -> None:
    async with trio.open_nursery() as nursery:
        address = await tcp_served(nursery, freeze)
        with trio.fail_after(10), pytest.raises(ConnectionLost, match="has been silent"):
            await listen(address)
        nursery.cancel_scope.cancel()


async def test_a_quiet_server_that_answers_pings_is_kept() -> None:
    async def quiet(request: WebSocketRequest) -> None:
        connection = await request.accept()
        await trio.sleep(0.8)
        await connection.send_message(b"at last")

    async with trio.open_nursery() as nursery:
        address = await served(nursery, quiet)
        with trio.fail_after(10):
            async with open_connection(address, "x", HASTY) as connection:
                assert await connection.receive() == b"at last"
        nursery.cancel_scope.cancel()


async def test_a_server_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disco.participant.connection.SLOWEST_BYTES_PER_SECOND", 1e9)
    async with trio.open_nursery() as nursery:
        address = await tcp_served(nursery, freeze)
        with trio.fail_after(10), pytest.raises(ConnectionLost, match="could not be sent within"):
            await pour(address)
        nursery.cancel_scope.cancel()


async def say_nothing(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def hang_up(stream: trio.SocketStream) -> None:
    await stream.receive_some()


@pytest.mark.parametrize(
    ("behave", "reason"), [(say_nothing, "did not answer within 0.3 s"), (hang_up, "closed the connection")]
)
async def test_a_server_that_does_not_answer_the_upgrade_is_given_up(
    behave: Callable[[trio.SocketStream], Awaitable[None]], reason: str
) -> None:
    async with trio.open_nursery() as nursery:
        address = await tcp_served(nursery, behave)
        with trio.fail_after(10), pytest.raises(ConnectionLost, match=reason):
            await listen(address)
        nursery.cancel_scope.cancel()
