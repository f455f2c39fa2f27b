"""Metrics of a server at work; alive and ready."""

from __future__ import annotations

import re
import shutil

import trio
import trio.testing

from tests.conftest import Server
from tests.dashboard.asking import contribute, get, hear, train_round
from tests.dashboard.exposition import read
from tests.web.clients import v4


async def scraped(server: Server) -> dict[str, float]:
    """Every sample under its name with its labels."""
    answer = await get(server, "/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        f"{name}{{{','.join(f'{label}={value}' for label, value in labels)}}}": value
        for (name, labels), value in read(answer.text).items()
    }


async def test_everything_in_the_metrics_has_its_help(server: Server) -> None:
    text = (await get(server, "/metrics")).text
    assert set(re.findall(r"# TYPE (\w+)", text)) == set(re.findall(r"# HELP (\w+) \w", text))


async def test_a_round_shows_in_the_metrics(server: Server) -> None:
    async with v4(server.ws) as first, v4(server.ws) as second:
        await train_round((first, second), 1.0, 0)
        found = await scraped(server)
    assert found["disco_contributions_total{outcome=accepted,task=tiny}"] == 2
    assert found["disco_rounds_total{task=tiny}"] == 1
    assert found["disco_round_contributions_total{task=tiny}"] == 2
    assert found["disco_round_seconds_count{task=tiny}"] == 1
    assert found["disco_round{task=tiny}"] == 1
    assert found["disco_participants{scheme=federated,task=tiny}"] == 2
    assert found["disco_connections{}"] == 2
    assert found["disco_store_seconds_count{operation=save_round}"] == 1
    assert found["disco_received_bytes_total{dialect=v4,task=tiny}"] > 0
    assert found["disco_sent_bytes_total{dialect=v4,task=tiny}"] > 0
    assert found["disco_in_flight_bytes{}"] == 0
    assert found["disco_outbox_messages{task=tiny}"] == 0
    assert found["disco_task_running{task=tiny}"] == 1


async def test_a_refused_contribution_is_counted_by_its_outcome(server: Server) -> None:
    async with v4(server.ws) as participant:
        await contribute(participant, 1.0, 5)
        await hear(participant, "ReceiveServerPayload")
        found = await scraped(server)
    assert found["disco_contributions_total{outcome=discarded,task=tiny}"] == 1


async def test_a_server_that_answers_is_alive_and_ready(server: Server) -> None:
    assert (await get(server, "/healthz")).json() == {"status": "alive"}
    ready = await get(server, "/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")


async def test_a_data_directory_that_takes_no_files_is_alive_but_not_ready(server: Server) -> None:
    directory = server.settings.data_dir
    away = directory.with_name("away")
    directory.rename(away)
    try:
        assert (await get(server, "/healthz")).status_code == 200
        answer = await get(server, "/readyz")
    finally:
        shutil.move(away, directory)
    assert answer.status_code == 503
    assert answer.json()["checks"]["store"].startswith("not writable")


async def test_a_task_whose_coordinator_is_gone_makes_the_server_not_ready(server: Server) -> None:
    entry = server.app.directory.get("tiny")
    entry.training = None
    answer = await get(server, "/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["tasks"] == "not running: tiny"


async def test_a_paused_task_leaves_the_server_ready(server: Server) -> None:
    await server.app.directory.pause("tiny")
    await trio.testing.wait_all_tasks_blocked()
    assert (await get(server, "/readyz")).status_code == 200
