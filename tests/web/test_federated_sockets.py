"""The federated scheme over real sockets, with strict clients of our own."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import msgpack
import numpy as np
import pytest
import trio
from numpy.typing import NDArray

from tests.conftest import Server, ServerFactory
from tests.web.clients import PATIENCE, Client, connected, integers, packed, post, unpacked, upgrade, v2, v4

SHAPES = [(2, 3), (3,), (3, 1), (1,)]


def update(seed: int) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape).astype(np.float32) for shape in SHAPES]


def mean(*updates: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    return [
        np.mean([each[index].astype(np.float64) for each in updates], axis=0).astype(np.float32)
        for index in range(len(SHAPES))
    ]


def same(got: list[NDArray[np.float32]], wanted: list[NDArray[np.float32]]) -> bool:
    return len(got) == len(wanted) and all(map(np.array_equal, got, wanted))


async def latest(participant: Client) -> tuple[int, list[NDArray[np.float32]]]:
    answer = await participant.ask(type=11)
    return answer["round"], unpacked(answer["weights"])


async def test_two_v2_participants_get_the_mean(server: Server) -> None:
    async with v2(server.ws) as one, v2(server.ws) as two:
        await post(one, update(1), 0)
        assert (await latest(one))[0] == 0
        await post(two, update(2), 0)
        round_, weights = await latest(two)
        assert round_ == 1
        assert same(weights, mean(update(1), update(2)))
        assert same((await latest(one))[1], weights)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("path", ["federated", "feai"])
@pytest.mark.parametrize("case", [str.lower, str.upper])
async def test_both_v2_paths_lead_to_the_task(
    server: Server, path: str, slash: str, case: Callable[[str], str]
) -> None:
    client = case(str(uuid.uuid4()))
    async with connected(f"{server.ws}/{path}/tiny/{client}{slash}?query=ignored") as participant:
        assert await participant.ask(type=0) == {"type": 0}


async def test_statistics_are_true(server: Server) -> None:
    async with v2(server.ws) as one, v2(server.ws) as two:
        await post(one, update(1), 0)
        await post(two, update(2), 0)
        statistics = (await one.ask(type=13))["statistics"]
        assert statistics == {
            "round": 1,
            "currentNumberOfParticipants": 2,
            "totalNumberOfParticipants": 2,
            "averageNumberOfParticipants": 2,
        }


async def test_messages_may_name_their_type_and_are_answered_in_kind(server: Server) -> None:
    async with connected(f"{server.ws}/federated/tiny/{uuid.uuid4()}") as participant:
        assert await participant.ask(type="clientConnected") == {"type": "clientConnected"}
        assert (await participant.ask(type="latestServerRound"))["round"] == 0


async def test_metadata_reaches_the_others(server: Server) -> None:
    name = str(uuid.uuid4())
    async with v2(server.ws, client=name) as one, v2(server.ws) as two:
        await one.say(type=9, taskId="tiny", clientId=name, round=0, metadataId="k", metadata="v")
        await one.ask(type=13)
        answer = await two.ask(type=10, taskId="tiny", clientId="x", round=0, metadataId="k")
        assert answer["metadataMap"] == [[name, "v"]]


async def test_what_was_delivered_just_before_leaving_counts(server: Server) -> None:
    async with v2(server.ws) as stays, v2(server.ws) as third:
        async with v2(server.ws) as leaves:
            await leaves.say(type=8, weights=integers(update(1)), round=0)
        await post(third, update(2), 0)
        await post(stays, update(3), 0)
        round_, weights = await latest(stays)
        assert round_ == 1
        assert same(weights, mean(update(1), update(2), update(3)))


async def test_a_stale_contribution_is_answered_with_the_current_round(server: Server) -> None:
    async with v2(server.ws) as one, v2(server.ws) as two:
        await post(one, update(1), 0)
        await post(two, update(2), 0)
        await one.say(type=8, weights=integers(update(3)), round=0)
        assert (await one.hear_type(11))["round"] == 1


@pytest.mark.parametrize(
    "weights",
    [
        [1, 2, 3],
        "text",
        integers([np.zeros((2, 2), np.float32)]),
        integers([np.full(shape, np.nan, np.float32) for shape in SHAPES]),
        integers([np.full(shape, np.inf, np.float32) for shape in SHAPES]),
    ],
    ids=["undecodable", "another type", "another structure", "NaN", "infinite"],
)
async def test_a_wrong_contribution_is_refused_and_the_round_is_untouched(
    server: Server, weights: object
) -> None:
    async with v2(server.ws) as wrong, v2(server.ws) as right:
        await wrong.say(type=8, weights=weights, round=0)
        assert (await wrong.hear_type(11))["round"] == 0
        await post(right, update(1), 0)
        assert (await latest(right))[0] == 0
        await post(wrong, update(2), 0)
        assert same((await latest(right))[1], mean(update(1), update(2)))


async def hostile(socket: Client, kind: str) -> tuple[int, str]:
    messages: dict[str, str | bytes] = {
        "garbage": b"\xc1\xff\x00garbage",
        "empty": b"",
        "text": "hello",
        "not a map": msgpack.packb([1, 2, 3]),
        "no type": msgpack.packb({"round": 1}),
        "unknown type": msgpack.packb({"type": 99}),
        "half a message": msgpack.packb({"type": 8, "weights": integers(update(1)), "round": 0})[:-40],
        "deep": b"\x81\xa4type" + b"\x91" * 100_000,
    }
    await socket.socket.send_message(messages[kind])
    return await socket.goodbye()


@pytest.mark.parametrize("path", ["v2", "unknown yet"])
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("garbage", 1007),
        ("empty", 1007),
        ("text", 1003),
        ("not a map", 1007),
        ("no type", 1007),
        ("unknown type", 1007),
        ("half a message", 1007),
        ("deep", 1007),
    ],
)
async def test_a_hostile_message_costs_its_sender_the_connection_and_nobody_else_anything(
    server: Server, kind: str, code: int, path: str
) -> None:
    client = f"/{uuid.uuid4()}" if path == "v2" else ""
    async with v2(server.ws) as one, v2(server.ws) as two:
        async with connected(f"{server.ws}/federated/tiny{client}") as bad:
            got, reason = await hostile(bad, kind)
        assert got == code
        assert reason, "the close frame says why"
        await post(one, update(1), 0)
        await post(two, update(2), 0)
        assert (await latest(one))[0] == 1


async def test_a_client_that_vanishes_in_the_middle_of_a_frame_disturbs_nobody(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    async with v2(server.ws) as one, v2(server.ws) as two:
        stream = await trio.open_tcp_stream(host, int(port))
        await stream.send_all(
            f"GET /feai/tiny/{uuid.uuid4()} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        with trio.fail_after(PATIENCE):
            assert b" 101 " in await stream.receive_some(4096)
        await stream.send_all(b"\x82\xff\x00\x00\x00\x00\x00\x10\x00\x00mask" + b"x" * 1000)
        await stream.aclose()
        await post(one, update(1), 0)
        await post(two, update(2), 0)
        assert (await latest(one))[0] == 1


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/feai/nothing/00000000-0000-4000-8000-000000000000", "there is no task 'nothing'"),
        ("/federated/nothing", "there is no task 'nothing'"),
        ("/federated/tiny/not-a-uuid", "not a UUID"),
        ("/feai/tiny", "lacks its client ID"),
        ("/elsewhere/tiny", "WebSockets are at"),
        ("/federated", "WebSockets are at"),
        ("/federated/tiny/00000000-0000-4000-8000-000000000000/more", "WebSockets are at"),
    ],
)
async def test_a_wrong_path_is_refused_before_the_upgrade_with_a_sentence(
    server: Server, path: str, sentence: str
) -> None:
    status, body = await upgrade(server.ws + path)
    assert status == 404
    assert sentence in body


async def test_a_v2_and_two_v4_participants_train_in_one_session(server: Server) -> None:
    async with v4(server.ws) as one, v4(server.ws) as two, v2(server.ws) as three:
        await one.say(type="SendPayload", payload=packed(update(1)), round=0)
        await two.say(type="SendPayload", payload=packed(update(2)), round=0)
        await post(three, update(3), 0)
        wanted = mean(update(1), update(2), update(3))
        for pushed in (
            await one.hear_type("ReceiveServerPayload"),
            await two.hear_type("ReceiveServerPayload"),
        ):
            assert pushed["round"] == 1
            assert same(unpacked(pushed["payload"]), wanted)
        assert same((await latest(three))[1], wanted)


async def test_rounds_survive_a_restart(start: ServerFactory) -> None:
    async with start() as server, v2(server.ws) as one, v2(server.ws) as two:
        await post(one, update(1), 0)
        await post(two, update(2), 0)
    async with start() as server, v2(server.ws) as one:
        round_, weights = await latest(one)
        assert round_ == 1
        assert same(weights, mean(update(1), update(2)))
        assert (await one.ask(type=13))["statistics"]["totalNumberOfParticipants"] == 2


async def test_a_crashed_session_closes_its_participants_and_starts_again_where_it_was(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = server.app.directory.get("tiny")
    async with v2(server.ws) as one:

        def crash(*_: object) -> None:
            raise RuntimeError("a fault of ours")

        monkeypatch.setattr(entry.session, "handle", crash)
        await one.say(type=11)
        code, reason = await one.goodbye()
        assert code == 1011
        assert "starts again" in reason
    with trio.fail_after(PATIENCE):
        while server.app.directory.get("tiny").session is None:
            await trio.lowlevel.checkpoint()
    async with v2(server.ws) as again:
        assert (await latest(again))[0] == 0
