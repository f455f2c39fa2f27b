"""Who may take part in a masked task, and what hostile clients can do to it, over real sockets."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest
import trio

from disco.participant import Participant
from disco.settings import Aggregation
from tests.conftest import Server, ServerFactory
from tests.participant.together import contribute
from tests.web.clients import connected, packed

KEYS = {"maskKey": bytes([1]) * 32, "shareKey": bytes([2]) * 32, "seal": bytes(32)}
SHAPES = [(2, 3), (3,), (3, 1), (1,)]
UPDATE = packed([np.ones(shape, dtype=np.float32) for shape in SHAPES])

# ── Who may ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "hello",
    [{"type": "ClientConnected"}, {"type": 0}, {"type": "SendPayload", "round": 0, "payload": UPDATE}],
    ids=["v4", "v3", "a contribution at once"],
)
async def test_who_does_not_mask_is_refused_with_a_sentence(
    serve: ServerFactory, hello: dict[str, Any]
) -> None:
    async with serve() as server, connected(f"{server.ws}/federated/tiny") as client:
        await client.say(**hello)
        assert await client.goodbye() == (
            1008,
            "this task takes masked contributions only, from Disco's Python participants",
        )
        assert server.app.metrics.value("contributions", task="tiny", outcome="accepted") == 0


async def test_a_v2_client_is_refused_before_the_upgrade(serve: ServerFactory) -> None:
    async with serve() as server, httpx.AsyncClient() as client:
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
        }
        answer = await client.get(f"{server.url}/feai/tiny/{uuid.uuid4()}", headers=headers)
        assert answer.status_code == 400
        assert "masked contributions only" in answer.json()["error"]


async def test_a_plain_contribution_of_one_who_joined_masked_is_refused(serve: ServerFactory) -> None:
    async with serve() as server, connected(f"{server.ws}/federated/tiny") as client:
        await client.say(type="JoinMasked")
        await client.hear_type("MaskedWelcome")
        await client.say(type="SendPayload", round=0, payload=UPDATE)
        code, reason = await client.goodbye()
        assert code == 1007
        assert "SendPayload" in reason


async def test_who_masks_is_refused_where_nothing_is_masked(server: Server) -> None:
    async with connected(f"{server.ws}/federated/tiny") as client:
        await client.say(type="JoinMasked")
        assert await client.goodbye() == (
            1008,
            "nothing is masked in this task: take part in it without masks",
        )


async def test_peers_do_not_find_a_masked_task(serve: ServerFactory) -> None:
    async with serve() as server, httpx.AsyncClient() as client:
        shown = (await client.get(f"{server.url}/tasks/tiny")).json()
        assert shown["trainingInformation"]["aggregationStrategy"] == "mean"  # all that v4's validator allows
        assert "decentralized" not in str(server.app.directory.get("tiny").task.schemes)


# ── Hostile ──────────────────────────────────────────────────────────────────────────────────────────────

HOSTILE: dict[str, list[dict[str, Any]]] = {
    "shares for nobody": [{"type": "ShareSecrets", "attempt": 1, "shares": {}}],
    "another attempt": [{"type": "ShareSecrets", "attempt": 2**53 - 1, "shares": {}}],
    "an update at once": [{"type": "MaskedUpdate", "attempt": 1, "masked": bytes(52)}],
    "an update of another size": [{"type": "MaskedUpdate", "attempt": 1, "masked": bytes(4)}],
    "no update": [{"type": "MaskedUpdate", "attempt": 1}],
    "shares at once": [{"type": "RevealShares", "attempt": 1, "seeds": {"me": bytes(66)}, "maskKeys": {}}],
    "keys again and again": [{"type": "AdvertiseKeys", "round": 0, **KEYS}] * 20,
    "keys of another round": [{"type": "AdvertiseKeys", "round": 7, **KEYS}],
    "hello again": [{"type": "JoinMasked"}] * 3,
    "what is no message": [{"type": "AdvertiseKeys", "round": 0}],
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_member_costs_the_others_no_round(serve: ServerFactory, name: str) -> None:
    # On a machine that is busy, others may be late in a phase as well: the round then begins again after `interval`.
    hasty = Aggregation(interval=0.5)
    async with (
        serve("range = 16.0, phaseSeconds = 0.5", aggregation=hasty) as server,
        AsyncExitStack() as stack,
    ):
        participants = [await stack.enter_async_context(Participant(server.url, "tiny")) for _ in range(3)]
        async with connected(f"{server.ws}/federated/tiny") as hostile:
            await hostile.say(type="JoinMasked")
            await hostile.hear_type("MaskedWelcome")
            await hostile.say(type="AdvertiseKeys", round=0, **KEYS)
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    for participant in participants:
                        nursery.start_soon(contribute, participant, 1.0)
                    await hostile.hear_type("Roster")
                    for message in HOSTILE[name]:
                        await hostile.socket.send_message(msgpack.packb(message))
            for participant in participants:
                np.testing.assert_allclose(participant.weights[0], 1.0, atol=1e-6)
                assert participant.round == 1


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({**KEYS, "maskKey": bytes(32)}, "not of low order"),
        ({**KEYS, "maskKey": KEYS["shareKey"]}, "must differ from each other"),
    ],
)
async def test_keys_that_nobody_can_use_are_rejected(
    serve: ServerFactory, bad: dict[str, Any], why: str
) -> None:
    async with serve() as server, connected(f"{server.ws}/federated/tiny") as hostile:
        await hostile.say(type="JoinMasked")
        await hostile.say(type="AdvertiseKeys", round=0, **bad)
        verdict = await hostile.hear_type("ContributionVerdict")
        assert verdict["outcome"] == "rejected"
        assert why in verdict["reason"]
