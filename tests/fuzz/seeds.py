"""What the fuzzer begins with: real clients' messages, our own, model files, requests, frames."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from disco.core import events, messages
from disco.core.model import Model
from disco.core.names import ParticipantID, TaskID
from disco.core.weights import Weights
from disco.wire import DIALECTS, masked
from disco.wire.dialect import Form, WeightsForm, whole
from disco.wire.tensors import encode_weights
from tests.masking.words import examples
from tests.runtime.client_frames import frame
from tests.web.test_tasks import task

TESTS = Path(__file__).parents[1]
ME, TASK = ParticipantID("2f0c4b1e-7a53-4c8e-9f6d-0a1b2c3d4e5f"), TaskID("tiny")
WEIGHTS = Weights.from_arrays([np.linspace(-2, 2, 6).reshape(2, 3), np.ones(3), np.float32(0.5)])


def goldens() -> Iterator[bytes]:
    """Every message that was recorded from real clients and servers."""
    for path in sorted((TESTS / "interop").glob("golden*/*.json")):
        recorded = json.loads(path.read_text("utf-8"))
        if isinstance(recorded, dict) and isinstance(recorded.get("hex"), str):
            yield bytes.fromhex(recorded["hex"])


def spoken(dialect: str) -> list[bytes]:
    """What clients and servers of a dialect say, and everything recorded."""
    speaks = DIALECTS[dialect]
    said: list[Any] = [
        events.Joined(ME),
        events.Contributed(ME, 3, WEIGHTS, "key", 12.0, {"accuracy": 0.5}),
        events.ModelRequested(ME),
        events.StatisticsRequested(ME),
        events.MetadataPosted(ME, 1, "name", "value"),
        events.MetadataRequested(ME, 1, "name"),
        events.RoundJoined(ME),
        events.BecameReady(ME),
        events.Signalled(ME, ParticipantID("1"), b"\x81\xa1a\x01"),
    ]
    answers: list[Any] = [
        messages.Welcome(ME, 2, WEIGHTS, waiting=False, participants=3),
        messages.GlobalModel(2, WEIGHTS, 3, pushed=True),
        messages.WaitingForMore(1),
        messages.PeersForRound((ParticipantID("1"), ParticipantID("2")), 1),
    ]
    found = list(goldens())
    for form in WeightsForm:
        for event in said:
            try:
                found.append(speaks.compose(event, TASK, Form(form)))
            except Exception:  # a dialect has not every word
                continue
        for answer in answers:
            try:
                found += [whole(said) for said in [speaks.encode(answer, TASK, Form(form))] if said]
            except Exception:
                continue
    return found


def masked_messages() -> list[bytes]:
    """What is said in masked rounds."""
    said, answers = examples()
    encoded = [whole(masked.encode(answer, TASK, masked.FORM) or b"") for answer in answers]
    return [*(masked.compose(event, TASK, masked.FORM) for event in said), *encoded]


def tensors() -> list[bytes]:
    """Weights in every form."""
    return [encode_weights(WEIGHTS, form) for form in WeightsForm]


def models() -> list[bytes]:
    """Models as msgpack, tagged and not."""
    model = tiny()
    return [model.to_msgpack(tagged=True), model.to_msgpack(tagged=False)]


def tiny() -> Model:
    """The tests' tiny model."""
    source = json.loads((TESTS / "tasks" / "tiny" / "model.json").read_text())
    return Model.from_tfjs(source, (TESTS / "tasks" / "tiny" / "weights.bin").read_bytes())


def tfjs() -> list[bytes]:
    """``model.json``, of which every part may be anything."""
    return [(TESTS / "tasks" / "tiny" / "model.json").read_bytes()]


def documents() -> list[bytes]:
    """Task documents of every generation."""
    later = {"id": "later", "dataType": "tabular", **{k: v for k, v in task().items() if k != "taskID"}}
    own = {
        **task(),
        "aggregation": {"interval": 3, "strategy": "krum"},
        "session": {"schemes": ["federated"]},
    }
    return [json.dumps(document).encode() for document in (task(), later, own)]


def submissions() -> list[bytes]:
    """Bodies of ``POST /tasks`` of every generation."""
    model, weights = tiny().to_msgpack(tagged=True), encode_weights(WEIGHTS, WeightsForm.FLOATS)
    indexed = {str(index): byte for index, byte in enumerate(model)}
    bodies = [
        {"task": task(), "model": list(model), "weights": list(weights)},
        {"newTask": task(), "model": indexed},
        {
            "task": task(),
            "model": tiny().tfjs_json(),
            "weights": base64.b64encode(tiny().weights_bin()).decode(),
        },
    ]
    return [json.dumps(body).encode() for body in bodies]


def packed_submissions() -> list[bytes]:
    """The same as msgpack, with real bytes."""
    model, weights = tiny().to_msgpack(tagged=True), encode_weights(WEIGHTS, WeightsForm.FLOATS)
    bodies: list[Any] = [
        {"task": task(), "model": model},
        {"task": task(), "model": model, "weights": weights},
    ]
    return [bytes(msgpack.packb(body)) for body in bodies]


def frames() -> list[bytes]:
    """Streams of WebSocket frames, as clients send them."""
    return [
        frame(2, b"x" * 10),
        frame(2, b"y" * 300, final=False) + frame(9, b"ping") + frame(0, b"z" * 70_000),
        frame(1, "text, çà et là".encode()),
        frame(10, b"") + frame(8, b"\x03\xe8goodbye"),
    ]
