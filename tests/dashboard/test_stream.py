"""Server-sent events: the state of one task, and of all."""

from __future__ import annotations

from pathlib import Path

import trio

from disco.settings import Limits
from tests.conftest import Server, ServerFactory
from tests.dashboard.asking import contribute, decentralized_tiny, get, post, train_round, watching
from tests.web.clients import peer, v4


async def test_a_viewer_sees_who_comes_contributes_and_goes(server: Server) -> None:
    async with watching(server, "/tasks/tiny/events") as events:
        assert (await events.state())["participants"] == 0
        async with v4(server.ws) as participant, v4(server.ws):
            state = await events.until(lambda state: state["participants"] == 2)
            assert len(set(state["present"])) == 2
            assert all(len(name) == 8 for name in state["present"])
            await contribute(participant, 1.0, 0)
            state = await events.until(lambda state: state["contributions"] == 1)
            assert set(state["contributors"]) < set(state["present"])
        await events.until(lambda state: state["participants"] == 0)


async def test_a_viewer_sees_peers_become_ready(start: ServerFactory, tmp_path: Path) -> None:
    async with (
        start(tasks_dir=decentralized_tiny(tmp_path)) as server,
        watching(server, "/tasks/tiny/events") as events,
        peer(server.ws) as first,
        peer(server.ws),
    ):
        await first.say(type="PeerIsReady")
        state = await events.until(lambda state: state["peers"] == 2 and state["readyPeers"] == 1)
        [hub] = state["hubs"]
        assert (hub["dialect"], hub["round"], hub["count"], len(hub["present"])) == ("v4", 0, 2, 2)
        assert set(hub["ready"]) < set(hub["present"])


async def test_a_viewer_is_told_why_a_task_does_not_train(server: Server) -> None:
    async with watching(server, "/tasks/tiny/events") as events:
        await post(server, "/tasks/tiny/pause")
        state = await events.until(lambda state: state["state"] == "paused")
        assert state["reason"] == "an admin has paused the task"


async def test_a_viewer_sees_that_a_task_goes_on(server: Server) -> None:
    async with watching(server, "/tasks/tiny/events") as events:
        await post(server, "/tasks/tiny/pause")
        await events.until(lambda state: state["state"] == "paused" and not state["running"])
        await post(server, "/tasks/tiny/resume")
        await events.until(lambda state: state["state"] == "running" and state["running"])


async def test_a_refusal_is_shown_with_its_reason(server: Server) -> None:
    async with watching(server, "/tasks/tiny/events") as events, v4(server.ws) as participant:
        await contribute(participant, float("nan"), 0)
        state = await events.until(lambda state: state["refusals"])
        [refusal] = state["refusals"]
        assert refusal["outcome"] == "rejected"
        assert "not finite" in refusal["reason"]


async def test_the_overview_has_every_task_and_a_closed_round(server: Server) -> None:
    async with watching(server, "/events") as events, v4(server.ws) as first, v4(server.ws) as second:
        await train_round((first, second), 1.0, 0)
        [state] = await events.until(lambda states: states[0]["round"] == 1)
        assert (state["id"], state["participants"], state["paused"]) == ("tiny", 2, False)


async def test_an_unknown_task_has_no_stream(server: Server) -> None:
    answer = await get(server, "/tasks/none/events")
    assert answer.status_code == 404


async def test_viewers_over_the_limit_are_told_so_and_a_place_is_given_back(start: ServerFactory) -> None:
    async with start(limits=Limits(viewers=1)) as server:
        async with watching(server, "/events") as events:
            await events.state()
            answer = await get(server, "/events")
            assert answer.status_code == 429
            assert "limits.viewers, 1" in answer.json()["error"]
        with trio.fail_after(5):
            while server.app.extensions["disco.viewers"].count:
                await trio.lowlevel.checkpoint()


async def test_a_stopping_server_ends_its_streams(server: Server) -> None:
    async with watching(server, "/events") as events:
        await events.state()
        server.app.close_connections(1001, "the server is stopping")
        assert await events.state() is None
