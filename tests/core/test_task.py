from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disco.core.names import Scheme
from disco.core.task import Task
from disco.errors import InvalidTask, Problem
from tests.core import oracles
from tests.core.task_documents import ANYTHING, damaged_documents, documents

GOLDEN = Path(__file__).parents[1] / "interop" / "golden"


def pushed_by_v2() -> dict[str, Any]:
    """The task that a real v2 client pushes."""
    task: dict[str, Any] = json.loads((GOLDEN / "http_post_tasks.json").read_text())["request"]["body"][
        "task"
    ]
    return task


def written_by_v4(**training: Any) -> dict[str, Any]:
    return {
        "id": "tides",
        "dataType": "tabular",
        "displayInformation": {"title": "Tides", "summary": {"preview": "p", "overview": "o"}},
        "trainingInformation": {
            "epochs": 4,
            "batchSize": 8,
            "roundDuration": 2,
            "validationSplit": 0.25,
            "tensorBackend": "tfjs",
            "scheme": "federated",
            "aggregationStrategy": "mean",
            "minNbOfParticipants": 2,
            "inputColumns": ["moon"],
            "outputColumn": "height",
            **training,
        },
    }


def with_training(**training: Any) -> dict[str, Any]:
    document = pushed_by_v2()
    document["trainingInformation"] |= training
    return document


def problems_of(document: object) -> dict[str, str]:
    with pytest.raises(InvalidTask) as caught:
        Task.from_document(document)
    return {problem.path: problem.problem for problem in caught.value.problems}


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_v2_document_is_read() -> None:
    task = Task.from_document(pushed_by_v2())

    assert (task.id, task.title, task.data_type) == ("golden", "kit task golden", "tabular")
    assert task.scheme is Scheme.FEDERATED
    assert task.minimum_participants == {Scheme.FEDERATED: 2, Scheme.DECENTRALIZED: 2}


def test_a_v4_document_is_read() -> None:
    task = Task.from_document(written_by_v4())

    assert (task.id, task.title, task.data_type) == ("tides", "Tides", "tabular")


@pytest.mark.parametrize(
    ("word", "scheme"),
    [
        ("Federated", Scheme.FEDERATED),
        ("Decentralized", Scheme.DECENTRALIZED),
        ("federated", Scheme.FEDERATED),
        ("decentralized", Scheme.DECENTRALIZED),
        ("local", Scheme.FEDERATED),
    ],
)
def test_every_generation_s_word_for_a_scheme_is_understood(word: str, scheme: Scheme) -> None:
    assert Task.from_document(with_training(scheme=word)).scheme is scheme


def test_the_minimum_defaults_by_scheme() -> None:
    document = pushed_by_v2()
    del document["trainingInformation"]["minimumReadyPeers"]

    task = Task.from_document(document)

    assert task.minimum_participants == {Scheme.FEDERATED: 2, Scheme.DECENTRALIZED: 3}


def test_a_given_minimum_holds_in_both_schemes() -> None:
    task = Task.from_document(written_by_v4(minNbOfParticipants=5))

    assert task.minimum_participants == {Scheme.FEDERATED: 5, Scheme.DECENTRALIZED: 5}


def test_every_task_is_open_in_both_schemes_unless_it_says_otherwise() -> None:
    assert Task.from_document(pushed_by_v2()).schemes == {Scheme.FEDERATED, Scheme.DECENTRALIZED}
    closed = pushed_by_v2() | {"session": {"schemes": ["federated"]}}
    assert Task.from_document(closed).schemes == {Scheme.FEDERATED}


def test_the_server_s_own_keys_are_read() -> None:
    document = pushed_by_v2() | {"aggregation": {"interval": 5}, "session": {"resetWhenEmpty": True}}

    task = Task.from_document(document)

    assert (task.interval, task.reset_when_empty) == (5.0, True)


def test_a_task_keeps_no_reference_to_the_document_it_was_read_from() -> None:
    document = pushed_by_v2()
    task = Task.from_document(document)
    before = copy.deepcopy(task.document)

    document["trainingInformation"]["epochs"] = 99
    task.public()["trainingInformation"]["inputColumns"].append("c")
    task.for_v2()["trainingInformation"]["inputColumns"].append("c")

    assert task.document == before


# ── Refusing ─────────────────────────────────────────────────────────────────────────────────────────────


def test_all_problems_are_told_at_once() -> None:
    document = with_training(epochs=0, batchSize="many", validationSplit=1.5, scheme="alone")
    document["taskID"] = "no/slash"
    del document["displayInformation"]["taskTitle"]
    del document["trainingInformation"]["roundDuration"]

    assert problems_of(document) == {
        "task.taskID": "must be 1 to 64 letters, digits, _ or -, beginning with a letter or digit",
        "task.displayInformation.taskTitle": "is missing; v4 calls it title",
        "task.trainingInformation.roundDuration": "is missing",
        "task.trainingInformation.epochs": "must be at least 1, not 0",
        "task.trainingInformation.batchSize": "must be a whole number, not 'many'",
        "task.trainingInformation.validationSplit": "must be at most 1, not 1.5",
        "task.trainingInformation.scheme": (
            "must be one of federated, decentralized, local, Federated, Decentralized, Local, not 'alone'"
        ),
    }


@pytest.mark.parametrize(
    "identifier", ["", "-a", "_a", "a b", "a/b", "a.b", "é", "a" * 65, "a\n", "../a", 7, None]
)
def test_an_id_that_cannot_stand_in_a_path_is_refused(identifier: object) -> None:
    assert "task.taskID" in problems_of(pushed_by_v2() | {"taskID": identifier})


def test_two_different_ids_are_refused() -> None:
    assert problems_of(pushed_by_v2() | {"id": "silver"}) == {
        "task.taskID": "differs from id: 'golden' and 'silver'"
    }


def test_two_different_minimums_of_a_decentralized_task_are_refused() -> None:
    document = with_training(scheme="Decentralized", minNbOfParticipants=4, minimumReadyPeers=3)

    assert "task.trainingInformation.minimumReadyPeers" in problems_of(document)


def test_of_two_different_minimums_of_a_federated_task_v2_s_is_the_one_for_peers() -> None:
    task = Task.from_document(with_training(minNbOfParticipants=2, minimumReadyPeers=3))

    assert task.minimum_participants == {Scheme.FEDERATED: 2, Scheme.DECENTRALIZED: 3}


def test_two_different_data_types_are_refused() -> None:
    assert "task.trainingInformation.dataType" in problems_of(pushed_by_v2() | {"dataType": "image"})


@pytest.mark.parametrize(
    ("data_type", "missing"),
    [
        ("image", {"task.trainingInformation.IMAGE_H", "task.trainingInformation.IMAGE_W"}),
        ("text", {"task.trainingInformation.tokenizer"}),
    ],
)
def test_what_a_type_of_data_needs_is_required(data_type: str, missing: set[str]) -> None:
    assert problems_of(with_training(dataType=data_type)).keys() == missing


def test_null_is_no_value_in_a_v2_document() -> None:
    assert problems_of(with_training(noiseScale=None)) == {
        "task.trainingInformation.noiseScale": "must be a number, not null"
    }


def test_null_is_an_absent_value_in_a_v4_document() -> None:
    task = Task.from_document(written_by_v4(privacy=None, maxShareValue=None))

    assert "privacy" not in task.document["trainingInformation"]


@pytest.mark.parametrize("scheme", ["Decentralized", "Federated"])
def test_secure_aggregation_between_two_peers_is_refused(scheme: str) -> None:
    document = with_training(scheme=scheme, decentralizedSecure=True, minimumReadyPeers=2)

    assert "protects nothing" in problems_of(document)["task.trainingInformation.minimumReadyPeers"]


@pytest.mark.parametrize(
    "document",
    [
        with_training(decentralizedSecure=True, minimumReadyPeers=3),
        with_training(decentralizedSecure=True) | {"session": {"allowWeakSecrecy": True}},
        with_training(decentralizedSecure=True) | {"session": {"schemes": ["federated"]}},
        written_by_v4(aggregationStrategy="secure", minNbOfParticipants=3),
    ],
)
def test_secure_aggregation_is_accepted_where_it_protects_or_is_meant(document: dict[str, Any]) -> None:
    Task.from_document(document)


def test_a_task_must_be_open_in_its_own_scheme() -> None:
    assert "task.session.schemes" in problems_of(pushed_by_v2() | {"session": {"schemes": ["decentralized"]}})


@pytest.mark.parametrize("document", [None, [], "task", 3, {}])
def test_what_is_no_task_at_all_is_refused(document: object) -> None:
    assert problems_of(document)


def test_a_document_of_absurd_depth_is_refused() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]

    assert any(
        "nested deeper" in problem for problem in problems_of(pushed_by_v2() | {"extra": deep}).values()
    )


def test_a_document_of_absurd_size_is_refused() -> None:
    assert "task" in problems_of(pushed_by_v2() | {"extra": [0] * 300_000})


# ── Forms ────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_v2_client_pushed_comes_back_unchanged() -> None:
    assert Task.from_document(pushed_by_v2()).for_v2() == pushed_by_v2()


def test_a_v4_minimum_is_told_to_v2_clients_under_their_name() -> None:
    training = Task.from_document(written_by_v4(minNbOfParticipants=4)).for_v2()["trainingInformation"]

    assert training["minimumReadyPeers"] == 4


def test_a_secret_v2_task_is_secret_for_v4_clients() -> None:
    document = with_training(scheme="Decentralized", decentralizedSecure=True, minimumReadyPeers=3)

    assert Task.from_document(document).public()["trainingInformation"]["aggregationStrategy"] == "secure"


def test_a_secret_v4_task_is_secret_for_v2_clients() -> None:
    document = written_by_v4(scheme="decentralized", aggregationStrategy="secure", minNbOfParticipants=3)

    assert Task.from_document(document).for_v2()["trainingInformation"]["decentralizedSecure"] is True


def test_v2_s_privacy_is_told_to_later_clients_in_their_place() -> None:
    training = Task.from_document(with_training(clippingRadius=20)).public()["trainingInformation"]

    assert training["privacy"] == {"clippingRadius": 20}


@given(documents())
@settings(max_examples=300)
def test_the_public_form_satisfies_the_validators_of_all_generations(document: dict[str, Any]) -> None:
    public = Task.from_document(document).public()

    assert [check(public) for check in (oracles.v2_is_task, oracles.v3_is_task, oracles.v4_is_task)] == [
        True
    ] * 3


@given(documents())
def test_the_public_form_contradicts_nothing_in_the_document(document: dict[str, Any]) -> None:
    task = Task.from_document(document)
    given_training = dict(task.document["trainingInformation"])
    for reworded in ("scheme", "aggregationStrategy", "privacy"):
        given_training.pop(reworded, None)

    assert given_training.items() <= task.public()["trainingInformation"].items()


@given(documents())
def test_the_v2_form_satisfies_v2_s_validator(document: dict[str, Any]) -> None:
    assert oracles.v2_is_task(Task.from_document(document).for_v2())


@given(documents())
def test_the_v2_form_of_a_right_v2_document_is_the_document(document: dict[str, Any]) -> None:
    task = Task.from_document(document)
    later = {"minNbOfParticipants", "aggregationStrategy", "aggregator", "outputColumn"}
    if oracles.v2_is_task(task.document) and not later & task.document["trainingInformation"].keys():
        assert task.for_v2() == task.document


@given(documents())
def test_the_public_form_is_itself_a_task_and_stays_as_it_is(document: dict[str, Any]) -> None:
    public = Task.from_document(document).public()

    assert Task.from_document(public).public() == public


@given(damaged_documents() | ANYTHING)
@settings(max_examples=300)
def test_any_document_is_a_task_or_refused_with_paths_that_can_be_followed(document: Any) -> None:
    problems: tuple[Problem, ...] | None = None
    try:
        json.dumps(Task.from_document(document).public(), allow_nan=False)
    except InvalidTask as error:
        problems = error.problems

    assert problems is None or (problems and all(problem.path.startswith("task") for problem in problems))


@given(st.integers(max_value=0) | st.floats(0.01, 0.99) | st.just(2**31))
def test_counts_are_whole_numbers_in_range(count: float) -> None:
    assert "task.trainingInformation.epochs" in problems_of(with_training(epochs=count))
