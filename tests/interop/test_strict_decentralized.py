"""Decentralized training with peers that are as strict as discojs's of v3 and v4, as far as the hub is concerned.

Their data channels are signals here, which the hub carries unopened either way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import trio

from tests.conftest import Server, ServerFactory
from tests.interop.conftest import OpenPage, TinyTask
from tests.interop.strict.driver import Page, Participant
from tests.web.clients import connected

pytestmark = pytest.mark.interop

WAITING, ENOUGH, UPDATE = "WaitingForMoreParticipants", "EnoughParticipants", "ParticipantsUpdate"
SHARE, RETRY = "StartWeightSharing", "RetryPeerConnections"

both = pytest.mark.parametrize("dialect", ["v3", "v4"])


class Peers:
    """Peers by name, with the IDs that the hub gave them."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.ids: dict[str, str] = {}

    async def come(self, names: str, dialect: str) -> dict[str, Mapping[str, Any]]:
        """Let peers join, one after the other; what each was answered."""
        answers = {}
        for name in names:
            answers[name] = await self[name].connected(dialect, scheme="decentralized")
            self.ids[name] = answers[name]["id"]
        return answers

    def __getitem__(self, name: str) -> Participant:
        return Participant(self.page, name)

    async def meet(self, names: str, **options: Mapping[str, Any]) -> dict[str, Any]:
        """Let peers train and meet at once; what each of them got. Options are by name."""
        results: dict[str, Any] = {}

        async def run(name: str) -> None:
            results[name] = await self[name].meet(**options.get(name, {}))

        for name in names:
            await self[name].join()
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(run, name)
        return results

    def require_list(self, result: Any, name: str, group: str, round_: int) -> None:
        """Require that the last list of a peer holds all others of the group, and them only."""
        found = result["lists"][-1]
        assert set(found["peers"]) == {self.ids[other] for other in group if other != name}
        assert len(found["peers"]) == len(group) - 1
        assert found["round"] == round_


# ── Rounds ───────────────────────────────────────────────────────────────────────────────────────────────


@both
async def test_peers_that_joined_meet_round_by_round(server: Server, strict: OpenPage, dialect: str) -> None:
    async with strict(server.url) as page:
        peers = Peers(page)
        await peers.come("abc", dialect)
        for number in range(3):
            for name, result in (await peers.meet("abc")).items():
                assert result["verdict"] == "share"
                peers.require_list(result, name, "abc", number)


async def test_a_v3_round_does_not_wait_for_a_peer_that_has_not_joined_it(
    server: Server, strict: OpenPage
) -> None:
    async with strict(server.url) as page:
        peers = Peers(page)
        await peers.come("abc", "v3")
        for name, result in (await peers.meet("ab")).items():
            peers.require_list(result, name, "ab", 0)


@both
async def test_signals_reach_their_peer_unopened_and_from_its_sender(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    signal = {"type": "offer", "sdp": "v=0\r\n", "extra": [None, -1, 2.5, "é", {"deep": True}]}
    async with strict(server.url) as page:
        peers = Peers(page)
        await peers.come("ab", dialect)
        await peers["a"].signal(peer=peers.ids["b"], signal=signal)
        await peers["b"].until(type="SignalForPeer")
        assert await peers["b"].signals() == [{"peer": peers.ids["a"], "signal": signal}]


async def test_peers_of_different_generations_never_meet(start: ServerFactory, strict: OpenPage) -> None:
    async with start() as server, strict(server.url) as page, connected(f"{server.ws}/deai/tiny") as old:
        await old.say(type=0)
        old_id = (await old.hear())["id"]
        await old.say(type=3)
        peers = Peers(page)
        await peers.come("ab", "v3")
        answers = await peers.come("cd", "v4")
        assert answers["d"]["participants"] == 2, "v3 peers do not count in a v4 session"
        for group in ("ab", "cd"):
            for name, result in (await peers.meet(group)).items():
                peers.require_list(result, name, group, 0)
        await peers["a"].signal(peer=peers.ids["c"], signal="from another generation")
        await peers["a"].signal(peer=str(old_id), signal="from another generation")
        await peers.meet("ab")
        heard = await peers["c"].signals()
        assert {each["peer"] for each in heard} == {peers.ids["d"]}
        await old.say(type=2, peer=old_id, signal="to itself")
        async with connected(f"{server.ws}/deai/tiny") as other:
            await other.say(type=0)
            other_id = (await other.hear())["id"]
            await other.say(type=3)
            assert await old.hear() == {"type": 4, "peers": [other_id]}, (
                "nothing came before, and it is alone"
            )


# ── Waiting for peers ────────────────────────────────────────────────────────────────────────────────────


async def test_v4_peers_hear_of_every_join_and_leave_once(server: Server, strict: OpenPage) -> None:
    async with strict(server.url) as page:
        peers = Peers(page)
        answers = await peers.come("abc", "v4")
        assert [(each["waiting"], each["participants"]) for each in answers.values()] == [
            (True, 1), (False, 2), (False, 3),
        ]  # fmt: skip
        await peers.meet("abc")
        await peers["c"].leave()
        await peers["b"].leave()
        await peers["a"].until(type=WAITING)
        await peers.come("b", "v4")
        await peers["a"].until(type=ENOUGH, count=2)
        counted = [(kind, count) for kind, count in await peers["a"].counts() if count is not None]
        assert counted == [
            ("NewDecentralizedNodeInfo", 1), (ENOUGH, 2), (UPDATE, 3), ("PeersForRound", 3),
            (UPDATE, 2), (WAITING, 1), (ENOUGH, 2),
        ]  # fmt: skip


@both
async def test_a_leave_in_a_peers_first_training_does_not_kill_it(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    async with strict(server.url) as page:
        peers = Peers(page)
        await peers.come("a", dialect)
        for _ in range(3):
            await peers.come("b", dialect)
            await peers["b"].leave()
        await peers.come("b", dialect)
        for name, result in (await peers.meet("ab")).items():
            peers.require_list(result, name, "ab", 0)


# ── Connecting before sharing (v4) ───────────────────────────────────────────────────────────────────────


async def test_nobody_shares_before_the_slowest_is_connected_issue_1109(
    server: Server, strict: OpenPage
) -> None:
    """DISCO #1109: fast peers sent their updates before slow ones were connected."""
    async with strict(server.url) as page:
        peers = Peers(page)
        await peers.come("abc", "v4")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peers.meet, "ab")
            await peers["c"].join()
            await peers["c"].meet(hold=True)  # connected, but it has not said so
            await peers["c"].signal(peer=peers.ids["a"], signal="after all others were ready")
            await peers["a"].until(type="SignalForPeer", count=3)
            assert SHARE not in [kind for kind, _ in await peers["a"].counts()]
            await peers["c"].ready()
        await peers["c"].until(type=SHARE)


async def test_peers_that_could_not_connect_try_again_together(
    start: ServerFactory, tiny_task: TinyTask, strict: OpenPage
) -> None:
    folder = tiny_task("maxPeerConnectionTime = 200")
    async with start(tasks_dir=folder) as server, strict(server.url) as page:
        peers = Peers(page)
        await peers.come("ab", "v4")
        results = await peers.meet("ab", a={"failures": 2}, b={"failures": 1})
        for result in results.values():
            assert result["verdict"] == "share"
            assert {each["round"] for each in result["lists"]} == {0}, "it is the same round"
            assert len(result["lists"]) == 3
        for name, result in (await peers.meet("ab")).items():
            peers.require_list(result, name, "ab", 1)


async def test_who_cannot_be_connected_is_out_and_the_others_go_on_without_it(
    start: ServerFactory, tiny_task: TinyTask, strict: OpenPage
) -> None:
    folder = tiny_task("maxPeerConnectionTime = 150\nmaxConnectionRetry = 1")
    async with start(tasks_dir=folder) as server, strict(server.url) as page:
        peers = Peers(page)
        await peers.come("abc", "v4")
        results = await peers.meet("abc", c={"failures": 9})
        assert {name: result["verdict"] for name, result in results.items()} == {
            "a": "share", "b": "share", "c": "fail",
        }  # fmt: skip
        for name in "ab":
            assert len(results[name]["lists"]) == 3
            peers.require_list(results[name], name, "ab", 0)


async def test_when_a_peer_leaves_while_connecting_the_others_meet_without_it(
    server: Server, strict: OpenPage
) -> None:
    async with strict(server.url) as page:
        peers = Peers(page)
        await peers.come("abc", "v4")
        results: dict[str, Any] = {}

        async def meet() -> None:
            results.update(await peers.meet("ab"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(meet)
            await peers["c"].join()
            await peers["c"].meet(hold=True)
            await peers["c"].leave()
        for name, result in results.items():
            assert result["verdict"] == "share"
            peers.require_list(result, name, "ab", 0)


async def test_a_peer_left_alone_while_connecting_waits_and_meets_who_comes(
    server: Server, strict: OpenPage
) -> None:
    async with strict(server.url) as page:
        peers = Peers(page)
        await peers.come("ba", "v4")  # a has not waited, and so may be told to
        results: dict[str, Any] = {}

        async def meet(name: str) -> None:
            results.update(await peers.meet(name))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(meet, "a")
            await peers["b"].join()
            await peers["b"].meet(hold=True)
            await peers["b"].leave()
            await peers["a"].until(type=RETRY)
            await peers.come("c", "v4")
            nursery.start_soon(meet, "c")
        for name, result in results.items():
            assert result["verdict"] == "share"
            peers.require_list(result, name, "ac", 0)


# ── Joining while others train (v4) ──────────────────────────────────────────────────────────────────────


async def test_a_newcomer_is_sent_to_a_provider_who_is_told(server: Server, strict: OpenPage) -> None:
    async with strict(server.url) as page:
        peers = Peers(page)
        first = await peers.come("ab", "v4")
        assert not first["b"]["midTraining"]
        await peers.meet("ab")
        answers = await peers.come("c", "v4")
        assert answers["c"]["midTraining"]
        provider = (await peers["c"].sync())["provider"]
        [name] = [name for name in "ab" if peers.ids[name] == provider]
        await peers[name].until(type="ProvideModelToPeer")


async def test_the_others_do_not_wait_for_a_newcomer_that_fetches_the_model(
    server: Server, strict: OpenPage
) -> None:
    async with strict(server.url) as page:
        peers = Peers(page)
        await peers.come("ab", "v4")
        await peers.meet("ab")
        await peers.come("c", "v4")
        await peers["c"].sync()
        for name, result in (await peers.meet("ab")).items():
            peers.require_list(result, name, "ab", 1)
        for name, result in (await peers.meet("abc")).items():
            peers.require_list(result, name, "abc", 2)


async def test_a_provider_that_leaves_is_replaced(server: Server, strict: OpenPage) -> None:
    async with strict(server.url) as page:
        peers = Peers(page)
        await peers.come("abd", "v4")
        await peers.meet("abd")
        await peers.come("c", "v4")
        provider = (await peers["c"].sync())["provider"]
        [first] = [name for name, known in peers.ids.items() if known == provider]
        await peers[first].leave()
        await peers["c"].until(type="ModelProviderInfo", count=2)
        told = [
            name
            for name in "abd"
            if name != first and "ProvideModelToPeer" in [kind for kind, _ in await peers[name].counts()]
        ]
        assert len(told) == 1, "one other is asked for the model"
