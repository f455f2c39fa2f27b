"""Pausing, resuming and rolling back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import trio
from trio_websocket import ConnectionClosed

from tests.conftest import Server, ServerFactory
from tests.dashboard.asking import contribute, get, hear, post, train_round
from tests.web.clients import unpacked, upgrade, v4


async def test_a_paused_task_lets_its_participants_go_with_the_reason(server: Server) -> None:
    async with v4(server.ws) as participant:
        assert (await post(server, "/tasks/tiny/pause")).json() == {"task": "tiny", "paused": True}
        with pytest.raises(ConnectionClosed) as closed:
            await participant.hear()
    assert closed.value.reason is not None
    assert (closed.value.reason.code, closed.value.reason.reason) == (
        1013, "the task is paused; come back later",
    )  # fmt: skip


async def test_nobody_joins_a_paused_task(server: Server) -> None:
    await post(server, "/tasks/tiny/pause")
    status, body = await upgrade(f"{server.ws}/federated/tiny")
    assert status == 503
    assert "is paused" in body


async def test_a_resumed_task_goes_on_from_its_newest_round(server: Server) -> None:
    async with v4(server.ws) as first, v4(server.ws) as second:
        await train_round((first, second), 3.0, 0)
    await post(server, "/tasks/tiny/pause")
    await post(server, "/tasks/tiny/resume")
    await _running(server)
    async with v4(server.ws) as first, v4(server.ws) as second:
        await train_round((first, second), 4.0, 1)
    assert server.app.directory.get("tiny").served().round == 2


async def test_a_pause_survives_a_restart(start: ServerFactory) -> None:
    async with start() as server:
        await post(server, "/tasks/tiny/pause")
    async with start() as server:
        assert (await upgrade(f"{server.ws}/federated/tiny"))[0] == 503
        await post(server, "/tasks/tiny/resume")
    async with start() as server, v4(server.ws):
        pass


async def test_a_rollback_makes_the_earlier_model_a_new_round(server: Server) -> None:
    async with v4(server.ws) as first, v4(server.ws) as second:
        await train_round((first, second), 1.0, 0)
        await train_round((first, second), 2.0, 1)
        answer = await post(server, "/tasks/tiny/rollback", {"round": 1})
        assert answer.json() == {"task": "tiny", "round": 3, "restored": 1}
        weights = np.frombuffer((await get(server, "/tasks/tiny/weights.bin")).content, "<f4")
        assert weights.tolist() == [1.0] * 13
        await train_round((first, second), 5.0, 3)


async def test_who_had_contributed_gets_the_restored_model(server: Server) -> None:
    async with v4(server.ws) as first, v4(server.ws) as second:
        await train_round((first, second), 1.0, 0)
        await contribute(first, 9.0, 1)
        await post(server, "/tasks/tiny/rollback", {"round": 1})
        pushed = await hear(first, "ReceiveServerPayload")
        assert pushed["round"] == 2
        assert {float(array.max()) for array in unpacked(pushed["payload"])} == {1.0}


async def test_a_rollback_survives_a_restart(start: ServerFactory) -> None:
    async with start() as server:
        async with v4(server.ws) as first, v4(server.ws) as second:
            await train_round((first, second), 1.0, 0)
        await post(server, "/tasks/tiny/rollback", {"round": 0})
    async with start() as server:
        assert server.app.directory.get("tiny").served().round == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [({"round": 7}, 404), ({"round": -1}, 422), ({"round": True}, 422), ({}, 422), ([], 422), ("x", 422)],
)
async def test_a_rollback_to_no_round_changes_nothing(server: Server, body: Any, status: int) -> None:
    assert (await post(server, "/tasks/tiny/rollback", body)).status_code == status
    assert server.app.directory.get("tiny").served().round == 0


async def test_a_paused_task_is_not_rolled_back(server: Server) -> None:
    await post(server, "/tasks/tiny/pause")
    await trio.testing.wait_all_tasks_blocked()
    answer = await post(server, "/tasks/tiny/rollback", {"round": 0})
    assert answer.status_code == 503
    assert "resume it first" in answer.json()["error"]


@pytest.mark.parametrize("deed", ["pause", "resume", "rollback"])
async def test_an_unknown_task_cannot_be_managed(server: Server, deed: str) -> None:
    assert (await post(server, f"/tasks/none/{deed}", {"round": 0})).status_code == 404


async def test_pages_of_other_sites_cannot_pause(server: Server) -> None:
    answer = await post(server, "/tasks/tiny/pause", None, Origin="https://other.example")
    assert answer.status_code == 403
    assert not server.app.directory.get("tiny").pause.on


async def test_pages_under_a_name_that_only_resolves_here_cannot_pause(server: Server) -> None:
    answer = await post(server, "/tasks/tiny/pause", None, Host="rebound.example")
    assert answer.status_code == 401
    assert not server.app.directory.get("tiny").pause.on


async def _running(server: Server) -> None:
    with trio.fail_after(5):
        while not server.app.directory.get("tiny").running:
            await trio.lowlevel.checkpoint()
