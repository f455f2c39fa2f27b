"""Tasks, models and weights for the tests of the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from disco.core.model import Model, ModelKind
from disco.core.task import Task
from disco.core.weights import Shape, Weights, count
from disco.storage.contract import RoundRecord, Store

SHAPES: tuple[Shape, ...] = ((3, 2), (2,), ())


def task(name: str = "titanic", **training: Any) -> Task:
    document = {
        "taskID": name,
        "displayInformation": {"taskTitle": f"The task {name}"},
        "trainingInformation": {
            "modelID": f"{name}-model",
            "dataType": "tabular",
            "inputColumns": ["age", "fare"],
            "outputColumns": ["survived"],
            "epochs": 10,
            "batchSize": 16,
            "roundDuration": 2,
            "validationSplit": 0.2,
            "modelCompileData": {"optimizer": "sgd", "loss": "meanSquaredError", "metrics": ["accuracy"]},
            "scheme": "Federated",
            **training,
        },
    }
    return Task.from_document(document)


def weights(seed: int, shapes: Sequence[Shape] = SHAPES) -> Weights:
    flat = np.random.default_rng(seed).standard_normal(count(shapes), dtype=np.float32)
    return Weights.from_flat(flat, shapes)


def model(seed: int = 0, shapes: Sequence[Shape] = SHAPES) -> Model:
    specs = [
        {"name": f"dense/{index}", "shape": list(shape), "dtype": "float32"}
        for index, shape in enumerate(shapes)
    ]
    topology = {"class_name": "Sequential", "config": {"layers": []}}
    artifacts = {"modelTopology": topology, "weightSpecs": specs, "format": "layers-model"}
    return Model(ModelKind.TFJS, weights(seed, shapes), artifacts)


def compiled_model() -> Model:
    """A model with its optimizer's state behind the weights."""
    plain = model()
    state = {"name": "iter", "shape": [], "dtype": "int32", "group": "optimizer"}
    artifacts = {**plain.artifacts, "weightSpecs": [*plain.artifacts["weightSpecs"], state]}
    return Model(ModelKind.TFJS, plain.weights, artifacts, extra=b"\x07\x00\x00\x00")


def gpt_model() -> Model:
    return Model(ModelKind.GPT, weights(5), {"config": {"modelType": "gpt-nano", "contextLength": 64}})


def record(number: int, contributions: int = 2, **figures: float) -> RoundRecord:
    return RoundRecord(
        number, 1_000.5 + number, participants=3, contributions=contributions, seconds=0.25, figures=figures
    )


def bits(given: Weights) -> bytes:
    return given.flat.tobytes()


def save(store: Store, name: str, number: int, contributions: int = 2) -> None:
    """Save a round whose weights follow from its number, and tidy up after it."""
    store.save_round(task(name).id, record(number, contributions), weights(number))
    store.tidy()


def snapshot(store: Store) -> list[Any]:
    """Everything that a store can be asked, comparable."""
    return [
        (
            stored.task.document,
            stored.source,
            stored.added_at,
            store.totals(stored.task.id),
            store.spent(stored.task.id),
            store.marks(stored.task.id),
            store.latest_round(stored.task.id),
            {name: kept.tobytes() for name, kept in store.latest_state(stored.task.id).items()},
            store.model(stored.task.id).to_msgpack(tagged=True),
            [
                (kept, bits(store.round_weights(stored.task.id, kept.number)))
                for kept in store.rounds(stored.task.id)
            ],
        )
        for stored in store.tasks()
    ]
