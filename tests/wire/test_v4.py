"""What is particular to the wire of today, and what Python participants add to it."""

from __future__ import annotations

import math
from typing import Any

import msgpack
import pytest

from disco.core import events, messages
from disco.core.messages import Outcome
from disco.core.names import ParticipantID, Scheme
from disco.core.weights import Weights
from disco.errors import MalformedMessage
from disco.wire import v4
from disco.wire.dialect import Form, WeightsForm, whole
from disco.wire.tensors import encode_weights
from tests.wire.strategies import SENDER, TASK

MODEL = Weights.from_arrays([[1.0, 2.0]])
ASKED = Form(WeightsForm.PACKED, verdicts=True)
UPDATE = {"type": "SendPayload", "payload": encode_weights(MODEL), "round": 0}


def decode(message: dict[str, Any]) -> tuple[events.Event, Form]:
    return v4.decode(msgpack.packb(message), SENDER, Scheme.FEDERATED, v4.FORM)


def encode(message: messages.Message, form: Form = v4.FORM) -> dict[str, Any]:
    encoded = v4.encode(message, TASK, form)
    assert encoded is not None
    unpacked: dict[str, Any] = msgpack.unpackb(whole(encoded))
    return unpacked


# ── The model of a newcomer ──────────────────────────────────────────────────────────────────────────────


def test_a_newcomer_of_round_0_keeps_the_model_it_has() -> None:
    assert encode(messages.Welcome(SENDER, 0, MODEL, waiting=True, participants=1))["payload"] is None


def test_a_newcomer_of_a_later_round_gets_the_global_model() -> None:
    welcome = encode(messages.Welcome(SENDER, 1, MODEL, waiting=True, participants=1))
    assert welcome["payload"] == encode_weights(MODEL)


# ── Verdicts ─────────────────────────────────────────────────────────────────────────────────────────────

VERDICT = messages.Verdict(3, Outcome.REJECTED, "weights[0].data has a value that is not finite")


@pytest.mark.parametrize(
    ("hello", "verdicts"),
    [
        ({}, False),
        ({"extensions": None}, False),
        ({"extensions": []}, False),
        ({"extensions": ["of the future"]}, False),
        ({"extensions": ["of the future", "verdicts"]}, True),
    ],
)
def test_a_participant_asks_for_verdicts_when_it_says_hello(hello: dict[str, Any], verdicts: bool) -> None:
    _, form = decode({"type": "ClientConnected", **hello})
    assert form.verdicts is verdicts


def test_a_verdict_is_told_to_whom_asked_for_it() -> None:
    assert encode(VERDICT, ASKED) == {
        "type": "ContributionVerdict",
        "round": 3,
        "outcome": "rejected",
        "reason": "weights[0].data has a value that is not finite",
    }


def test_nobody_else_is_told_a_verdict() -> None:
    assert v4.encode(VERDICT, TASK, v4.FORM) is None


# ── The end of the training ──────────────────────────────────────────────────────────────────────────────

ENDED = messages.Welcome(SENDER, 1, MODEL, waiting=False, participants=1, ended="the budget is spent")


def test_the_end_of_the_training_is_told_to_whom_asked_for_verdicts() -> None:
    told = encode(messages.TrainingEnded(3, "the budget is spent"), ASKED)
    assert told == {"type": "TrainingEnded", "round": 3, "reason": "the budget is spent"}


def test_the_welcome_tells_whom_asked_for_verdicts_that_the_training_has_ended() -> None:
    assert encode(ENDED, ASKED)["ended"] == "the budget is spent"
    said = v4.encode(ENDED, TASK, ASKED)
    assert said is not None
    parsed = v4.parse(whole(said), Scheme.FEDERATED)
    assert isinstance(parsed, messages.Welcome)
    assert parsed.ended == "the budget is spent"


def test_nobody_else_is_welcomed_with_a_field_they_do_not_know() -> None:
    assert "ended" not in encode(ENDED, v4.FORM)


# ── Optional fields ──────────────────────────────────────────────────────────────────────────────────────


def test_a_participant_may_name_the_id_it_had() -> None:
    event, _ = decode({"type": "ClientConnected", "participant": "abc"})
    assert event == events.Joined(SENDER, identity=ParticipantID("abc"))


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        ({"participant": ""}, "participant: expected str of length >= 1"),
        ({"participant": "x" * 65}, "participant: expected str of length <= 64"),
        ({"participant": 7}, "participant: expected str"),
        ({"extensions": "verdicts"}, "extensions: expected array"),
        ({"extensions": [1]}, r"extensions\[0\]: expected str"),
        ({"extensions": ["x"] * 17}, "extensions: expected array of length <= 16"),
    ],
)
def test_a_malformed_hello_is_refused(hello: dict[str, Any], reason: str) -> None:
    with pytest.raises(MalformedMessage, match=reason):
        decode({"type": "ClientConnected", **hello})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"key": ""}, "key: expected str of length >= 1"),
        ({"key": "x" * 129}, "key: expected str of length <= 128"),
        ({"key": 1}, "key: expected str"),
        ({"samples": "12"}, "samples: expected float"),
        ({"samples": True}, "samples: expected float"),
        ({"metrics": [1]}, "metrics: expected object"),
        ({"metrics": {"loss": "low"}}, "metrics.*: expected float"),
        ({"metrics": {"x" * 65: 1.0}}, "metrics.*: expected str of length <= 64"),
        ({"metrics": {str(index): 1.0 for index in range(65)}}, "metrics: expected object of length <= 64"),
    ],
)
def test_a_malformed_figure_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(MalformedMessage, match=reason):
        decode({**UPDATE, **fields})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"samples": -1}, "samples is no number from 0 up"),
        ({"samples": math.nan}, "samples is no number from 0 up"),
        ({"samples": math.inf}, "samples is no number from 0 up"),
        ({"metrics": {"accuracy": 0.5, "loss": math.nan}}, "metrics['loss'] is nan, which is not finite"),
        ({"metrics": {"a\nb": 1}}, r"metrics has a name that is not 1 to 64 printable letters: 'a\nb'"),
    ],
)
def test_a_figure_without_a_meaning_refuses_the_contribution(fields: dict[str, Any], reason: str) -> None:
    assert decode({**UPDATE, **fields})[0] == events.Misdelivered(SENDER, reason)


def test_figures_may_be_integers() -> None:
    event, _ = decode({**UPDATE, "samples": 120, "metrics": {"epochs": 5}})
    assert isinstance(event, events.Contributed)
    assert (event.samples, event.metrics) == (120.0, {"epochs": 5.0})


# ── Types ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name", ["Payload", "SharedModel", "ReceiveServerPayload", "CrashClient", "JoinRound", "Word", ""]
)
def test_a_type_that_is_not_for_the_server_is_refused(name: str) -> None:
    with pytest.raises(MalformedMessage, match=f"^type: invalid value '{name}'$"):
        decode({**UPDATE, "type": name})


@pytest.mark.parametrize("kind", [0, 10, 1.5, None, ["ClientConnected"]])
def test_a_type_that_is_no_name_is_refused(kind: Any) -> None:
    with pytest.raises(MalformedMessage, match=r"^type: expected str"):
        decode({"type": kind})


def test_peers_are_told_in_full() -> None:
    others = (ParticipantID("a"), ParticipantID("b"))
    assert encode(messages.PeersForRound(others, 2, participants=4)) == {
        "type": "PeersForRound",
        "peers": ["a", "b"],
        "aggregationRound": 2,
        "nbOfParticipants": 4,
    }
