"""What a task says about masks: read, checked in full when it is added, and told to participants."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from disco.core.masking.terms import Terms
from disco.core.names import Scheme
from disco.core.task import Task
from disco.core.task_rules import problems_in
from disco.errors import Refused, SettingsError
from disco.participant.address import Address
from disco.participant.attendance import Place
from disco.participant.connection import Deadlines
from disco.participant.masked import footing_of
from disco.participant.masks import attendance_for
from disco.participant.standing import MASKED, Standing
from tests.masking.room import TASK
from tests.web.test_tasks import task

SECURE = {"aggregationStrategy": "secure", "minNbOfParticipants": 3}


def document(training: dict[str, Any] | None = None, **tables: Any) -> dict[str, Any]:
    return {**task("wards", **(SECURE if training is None else training)), **tables}


def problems(training: dict[str, Any] | None = None, **tables: Any) -> dict[str, str]:
    return {found.path: found.problem for found in problems_in(document(training, **tables), "task")}


def test_a_federated_task_that_is_secure_masks_with_the_defaults() -> None:
    assert Task.from_document(document()).masking == Terms(4.0, 1 / 3, 60.0)


def test_a_table_asks_for_masks_too() -> None:
    read = Task.from_document(document({}, aggregation={"masking": {"range": 2, "phaseSeconds": 5}}))
    assert read.masking == Terms(2.0, 1 / 3, 5.0)


@pytest.mark.parametrize(
    "training", [{}, {"aggregationStrategy": "mean"}, {**SECURE, "scheme": "decentralized"}]
)
def test_other_tasks_mask_nothing(training: dict[str, Any]) -> None:
    assert Task.from_document(document(training)).masking is None


def test_a_masked_task_is_open_for_federated_training_only() -> None:
    assert Task.from_document(document()).schemes == {Scheme.FEDERATED}


def test_it_may_be_open_for_peers_who_hide_their_updates_too() -> None:
    both = {"session": {"schemes": ["federated", "decentralized"]}}
    assert "decentralizedSecure" in problems(**both)["task.session.schemes"]
    secret = Task.from_document(document({**SECURE, "decentralizedSecure": True}, **both))
    assert secret.schemes == set(Scheme)


def test_rounds_take_three_participants_unless_the_task_says_more() -> None:
    assert (
        Task.from_document(document({"aggregationStrategy": "secure"})).minimum_participants[Scheme.FEDERATED]
        == 3
    )


def test_rounds_of_two_tell_each_the_other_s_contribution() -> None:
    few = {**SECURE, "minNbOfParticipants": 2}
    assert "fewer than 3" in problems(few)["task.trainingInformation.minNbOfParticipants"]
    assert not problems(few, session={"allowWeakSecrecy": True})


@pytest.mark.parametrize(
    ("aggregation", "path", "problem"),
    [
        ({"masking": {"range": 0}}, "masking.range", "must be a number above 0 to 1e+06, not 0"),
        ({"masking": {"dropouts": 0.5}}, "masking.dropouts", "must be a number from 0 to below 0.5, not 0.5"),
        ({"masking": {"phaseSeconds": True}}, "masking.phaseSeconds", "must be a number above 0"),
        ({"masking": {"threshold": 3}}, "masking.threshold", "it has range, dropouts, phaseSeconds"),
        ({"masking": []}, "masking", "must be an object"),
        ({"maxNorm": 1.0}, "maxNorm", "looks at single contributions, which secure aggregation hides"),
        ({"strategy": "median"}, "strategy", "looks at single contributions"),
        ({"weighting": {}}, "weighting", "looks at single contributions"),
        ({"clipping": {"norm": 1.0}}, "clipping", "looks at single contributions"),
        ({"buffer": {"size": 5}}, "buffer", "looks at single contributions"),
    ],
)
def test_what_does_not_go_with_masks_is_refused_when_the_task_is_added(
    aggregation: dict[str, Any], path: str, problem: str
) -> None:
    assert problem in problems(aggregation=aggregation)[f"task.aggregation.{path}"]


def test_a_server_that_cannot_open_masks_refuses_the_task_with_what_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("disco.core.task_rules.can_mask", lambda: False)
    assert "disco-server[participant]" in problems()["task.aggregation.masking"]


def test_participants_read_the_terms_in_the_task() -> None:
    public = Task.from_document(document()).public()
    footing = footing_of(public, TASK, b"we")
    assert (footing.terms, footing.minimum, footing.group_secret) == (Terms(4.0, 1 / 3, 60.0), 3, b"we")


def test_the_public_form_of_a_masked_task_asks_for_masks_again() -> None:
    public = Task.from_document(document()).public()
    assert public["trainingInformation"]["aggregationStrategy"] == "mean"  # v4's clients know no other here
    assert Task.from_document(public).masking == Terms(4.0, 1 / 3, 60.0)


@pytest.mark.parametrize(
    "spoiled",
    [
        {"aggregation": {"masking": {"dropouts": 0.9}}},
        {"aggregation": {"masking": {"range": -1}}},
        {"aggregation": {"masking": []}},
        {"trainingInformation": {}},
        {"trainingInformation": None},
    ],
)
def test_a_participant_takes_no_part_on_terms_that_no_server_should_have(spoiled: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        footing_of({**Task.from_document(document()).public(), **spoiled}, TASK, b"")


def test_the_page_names_every_message_with_its_fields() -> None:
    page = (Path(__file__).parents[2] / "docs" / "secure-aggregation.md").read_text("utf-8")
    words = import_module("disco.wire.masked_words")
    for name, word in vars(words).items():
        if isinstance(word, type) and issubclass(word, Struct) and word.__module__ == words.__name__:
            rows = [line for line in page.splitlines() if line.startswith("| ") and f"`{name}`" in line]
            assert rows, name
            for field in word.__struct_fields__:
                assert f"`{field}`" in rows[0], (name, field)


def test_a_participant_without_what_masks_are_made_with_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "disco.participant.masked", None)
    public = Task.from_document(document()).public()
    place = Place(Address.parse("http://127.0.0.1"), TASK, Deadlines(), 1.0)
    with pytest.raises(SettingsError, match=r"disco-server\[participant\]"):
        attendance_for(public, place, Standing(MASKED), None, None)
