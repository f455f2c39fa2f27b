"""Tasks and models over HTTP, as the fetch() of discojs's v3 and v4 clients gets and posts them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.conftest import Server
from tests.interop.conftest import OpenPage
from tests.interop.strict.driver import Page, Participant, arrays
from tests.interop.test_strict_federated import exchange, require_round

pytestmark = pytest.mark.interop

both = pytest.mark.parametrize("dialect", ["v3", "v4"])


def document(dialect: str, name: str, data_type: str = "tabular") -> dict[str, Any]:
    """A task as clients of this generation write it."""
    training: dict[str, Any] = {
        "scheme": "federated", "minNbOfParticipants": 2, "epochs": 2, "batchSize": 4, "roundDuration": 1,
        "validationSplit": 0, "tensorBackend": "gpt" if data_type == "text" else "tfjs",
    }  # fmt: skip
    match data_type:
        case "tabular":
            training |= {"inputColumns": ["a", "b"], "outputColumn": "y"}
        case "text":
            training |= {"tokenizer": "Xenova/gpt2", "contextLength": 8}
    display: dict[str, Any] = {"summary": {"preview": "p", "overview": "o"}}
    if dialect == "v3":
        training["dataType"] = data_type
        return {
            "id": name,
            "displayInformation": {"taskTitle": "T", **display},
            "trainingInformation": training,
        }
    training["aggregationStrategy"] = "mean"
    display["title"] = "T"
    return {"id": name, "dataType": data_type, "displayInformation": display, "trainingInformation": training}


async def posted(page: Page, **arguments: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await page.ask("nobody", "post", **arguments)
    return answer


@both
async def test_a_posted_task_is_served_and_trained(server: Server, strict: OpenPage, dialect: str) -> None:
    async with strict(server.url) as page:
        answer = await posted(page, dialect=dialect, task=document(dialect, "posted"), modelOf="tiny")
        assert answer["status"] == 201
        a, b = Participant(page, "a"), Participant(page, "b")
        for client in (a, b):
            await client.connected(dialect, "posted")
        initial = server.app.directory.get("tiny").model.weights.arrays()
        assert all(map(np.array_equal, arrays((await a.state())["weights"]), initial))
        require_round(await exchange(a, b), 1)


@both
async def test_a_gpt_model_comes_back_as_it_was_and_trains(
    server: Server, strict: OpenPage, dialect: str
) -> None:
    random = np.random.default_rng(1)
    tensors = [random.standard_normal(shape).astype(np.float32) for shape in ((5, 4), (4,), ())]
    config = {"modelType": "gpt-nano", "blockSize": 8, "lr": 0.001, "seed": 42, "dropout": {"rate": None}}
    gpt = {
        "weights": [{"shape": list(t.shape), "data": t.reshape(-1).tolist()} for t in tensors],
        "config": config,
    }
    async with strict(server.url) as page:
        task = document(dialect, "words", "text")
        answer = await posted(page, dialect=dialect, task=task, gpt=gpt)
        assert answer["status"] == 201, answer
        model = await page.ask("nobody", "model", task="words")
        assert (model["kind"], model["config"]) == (1, config)
        assert all(map(np.array_equal, arrays(model["weights"]), tensors))
        a, b = Participant(page, "a"), Participant(page, "b")
        for client in (a, b):
            await client.connected(dialect, "words")
        results = await exchange(a, b)
        require_round(results, 1)
        model = await page.ask("nobody", "model", task="words")
        assert (model["kind"], model["config"]) == (1, config)
        assert all(map(np.array_equal, arrays(model["weights"]), arrays(results[0]["weights"])))
