"""Central differential privacy through a real server, its store and its sockets."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from disco.core.aggregation.noise import gaussian
from disco.core.aggregation.privacy_accounting import epsilon
from disco.core.weights import Weights
from disco.errors import TrainingEnded
from disco.participant import Participant
from tests.conftest import TINY, Server, ServerFactory
from tests.web.clients import packed, unpacked, v4

SHAPES = ((2, 3), (3,), (3, 1), (1,))
SIZE = 13
KEY = 11
#: Two rounds fit in: ε is 1.013, 1.478, and would be 1.847.
PRIVACY = "privacy = { clippingNorm = 0.5, noiseMultiplier = 4.0, epsilonBudget = 1.5 }"

Flat = NDArray[np.float32]


@pytest.fixture(autouse=True)
def _known_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = (lambda: KEY,)
    monkeypatch.setattr("disco.core.aggregation.private_mean.PrivateMean.__init__.__defaults__", defaults)


@pytest.fixture
def serve(start: ServerFactory, tmp_path: Path) -> ServerFactory:
    """Serve the tiny task with privacy: `async with serve()`; `session` and `privacy` change its document."""

    @asynccontextmanager
    async def starting(
        privacy: str = PRIVACY, session: str = "resetWhenEmpty = false"
    ) -> AsyncIterator[Server]:
        folder = tmp_path / "tasks" / "tiny"
        shutil.copytree(TINY / "tiny", folder, dirs_exist_ok=True)
        document = (TINY / "tiny" / "task.toml").read_text("utf-8")
        tables = f'[aggregation]\n{privacy}\n[session]\nschemes = ["federated"]\n{session}\n'
        (folder / "task.toml").write_text(f"{document}\n{tables}", "utf-8")
        async with start(tasks_dir=tmp_path / "tasks") as server:
            yield server

    return starting


async def closed_round(server: Server, number: int, change: float = 0.0) -> Flat:
    """Close a round of two contributions, the current model moved by a number, and return the new model."""
    current = await model(server)
    payload = packed(Weights.from_flat(current + np.float32(change), SHAPES).arrays())
    async with AsyncExitStack() as stack:
        participants = [await stack.enter_async_context(v4(server.ws)) for _ in range(2)]
        for participant in participants:
            await participant.say(type="SendPayload", payload=payload, round=number)
        heard = [await participant.hear_type("ReceiveServerPayload") for participant in participants]
    return np.concatenate([array.reshape(-1) for array in unpacked(heard[0]["payload"])])


async def model(server: Server) -> Flat:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{server.url}/tasks/tiny/weights.bin")
    return np.frombuffer(answer.content, dtype="<f4")


async def asked(server: Server, path: str) -> Any:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{server.url}/tasks/tiny{path}")).json()


async def figures(server: Server) -> dict[str, float]:
    return dict((await server.app.directory.rounds("tiny"))[-1].figures)


async def test_a_round_s_model_is_the_clipped_mean_with_noise(serve: ServerFactory) -> None:
    async with serve() as server:
        before = await model(server)
        found = await closed_round(server, 0, 100.0)

    step = np.full(SIZE, 0.5 / np.sqrt(SIZE))
    noise = 4.0 * 0.5 / 2 * gaussian(KEY).standard_normal(SIZE)
    np.testing.assert_allclose(found, before + step + noise, rtol=1e-5, atol=1e-6)


async def test_the_round_s_figures_are_epsilon_and_the_noise_and_nothing_else(serve: ServerFactory) -> None:
    async with serve() as server:
        await closed_round(server, 0, 100.0)
        (_, listed) = (await asked(server, "/rounds"))["rounds"]

    assert listed["figures"] == {"epsilon": pytest.approx(epsilon(4.0, 1, 1e-5)), "noise": 1.0}


async def test_what_is_spent_survives_a_restart(serve: ServerFactory) -> None:
    async with serve() as server:
        await closed_round(server, 0)
    async with serve() as server:
        await closed_round(server, 1)
        found = await figures(server)

    assert found["epsilon"] == pytest.approx(epsilon(4.0, 2, 1e-5))


async def test_a_roll_back_gives_nothing_back(serve: ServerFactory) -> None:
    async with serve() as server:
        await closed_round(server, 0)
        await server.app.directory.roll_back("tiny", 0)
        await closed_round(server, 2)
        found = await figures(server)

    assert found["epsilon"] == pytest.approx(epsilon(4.0, 2, 1e-5))


async def test_a_training_that_starts_anew_gets_nothing_back(serve: ServerFactory) -> None:
    async with serve(session="resetWhenEmpty = true") as server:
        await closed_round(server, 0)
    async with serve(session="resetWhenEmpty = true") as server:
        number = (await server.app.directory.rounds("tiny"))[-1].number
        await closed_round(server, number)
        found = await figures(server)

    assert number == 0
    assert found["epsilon"] == pytest.approx(epsilon(4.0, 2, 1e-5))


async def test_the_task_ends_before_the_round_that_would_exceed_its_budget(serve: ServerFactory) -> None:
    async with serve() as server:
        for number in range(2):
            await closed_round(server, number)
        state = (await asked(server, ""))["state"]

    assert (state["state"], state["reason"]) == (
        "ended",
        "its privacy budget is spent: ε is 1.478 of 1.5 (δ = 1e-05), and another round would exceed it",
    )


@pytest.mark.parametrize("again", ["restart", "roll back"])
async def test_a_task_at_its_budget_stays_ended(serve: ServerFactory, again: str) -> None:
    async with serve() as server:
        for number in range(2):
            await closed_round(server, number)
        if again == "roll back":
            await server.app.directory.roll_back("tiny", 0)
            assert (await asked(server, ""))["state"]["state"] == "ended"
    async with serve() as server:
        assert (await asked(server, ""))["state"]["state"] == "ended"


async def test_a_larger_budget_lets_it_go_on(serve: ServerFactory) -> None:
    async with serve() as server:
        for number in range(2):
            await closed_round(server, number)
    async with serve(privacy=PRIVACY.replace("1.5", "2.0")) as server:
        await closed_round(server, 2)
        found = await figures(server)

    assert found["epsilon"] == pytest.approx(epsilon(4.0, 3, 1e-5))


async def test_a_larger_budget_that_is_put_lets_it_go_on_with_what_was_spent(serve: ServerFactory) -> None:
    async with serve() as server:
        for number in range(2):
            await closed_round(server, number)
        document = dict(server.app.directory.get("tiny").task.document)
        privacy = {**document["aggregation"]["privacy"], "epsilonBudget": 2.0}
        document["aggregation"] = {"privacy": privacy}
        async with httpx.AsyncClient() as client:
            answer = await client.put(f"{server.url}/tasks/tiny", json=document)
        assert answer.status_code == 200
        await closed_round(server, 2)
        found = await figures(server)

    assert found["epsilon"] == pytest.approx(epsilon(4.0, 3, 1e-5))


async def test_a_task_without_its_accountant_is_refused_with_the_name_of_the_extra(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disco.core.aggregation.recipe.can_account", lambda: False)
    wishes = {"clippingNorm": 0.5, "noiseMultiplier": 4.0, "epsilonBudget": 1.5}
    async with httpx.AsyncClient() as client:
        task = {"taskID": "x", "aggregation": {"privacy": wishes}}
        answer = await client.post(f"{server.url}/tasks", json={"task": task})

    told = {field["path"]: field["problem"] for field in answer.json()["fields"]}
    assert "pip install 'disco-server[privacy]'" in told["task.aggregation.privacy"]


async def test_a_python_participant_is_told_that_the_budget_is_spent(serve: ServerFactory) -> None:
    async with serve() as server:
        for number in range(2):
            await closed_round(server, number)
        async with Participant(server.url, "tiny") as participant:
            with pytest.raises(TrainingEnded, match="its privacy budget is spent"):
                await participant.exchange(participant.weights)
