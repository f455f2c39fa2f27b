"""What a task may say about its aggregation, and everything that is wrong with it at once."""

from __future__ import annotations

from typing import Any

import pytest

from disco.core.aggregation.parameters import Parameter
from disco.core.aggregation.recipe import OPTIMIZERS, RULES, Recipe, read_recipe
from disco.core.aggregation.registry import made_from, recipe_of
from disco.core.task import Task
from disco.errors import InvalidTask
from tests.core.aggregation.updates import contribution, vector

DEFAULTS = {
    name: {key: known.default or 0.0 for key, known in table.items()} for name, table in RULES.items()
}

PRIVACY = {"clippingNorm": 0.5, "noiseMultiplier": 2, "epsilonBudget": 8}


def document(training: dict[str, Any] | None = None, **aggregation: Any) -> dict[str, Any]:
    return {
        "taskID": "rain",
        "displayInformation": {"taskTitle": "Rain"},
        "trainingInformation": {
            "dataType": "tabular",
            "inputColumns": ["pressure"],
            "outputColumns": ["rain"],
            "epochs": 10,
            "roundDuration": 2,
            "batchSize": 16,
            "validationSplit": 0.2,
            "minNbOfParticipants": 4,
            **(training or {}),
        },
        "aggregation": aggregation,
        "session": {"schemes": ["federated"]} if "privacy" in aggregation else {},
    }


def recipe(training: dict[str, Any] | None = None, **aggregation: Any) -> Recipe:
    return recipe_of(Task.from_document(document(training, **aggregation)))


def problems(training: dict[str, Any] | None = None, **aggregation: Any) -> dict[str, str]:
    with pytest.raises(InvalidTask) as caught:
        Task.from_document(document(training, **aggregation))
    return {problem.path.removeprefix("task."): problem.problem for problem in caught.value.problems}


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_says_nothing_gets_the_mean() -> None:
    assert recipe() == Recipe("mean", {})


@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_its_defaults(name: str) -> None:
    assert recipe(strategy=name) == Recipe(name, DEFAULTS[name])


@pytest.mark.parametrize("name", RULES)
def test_every_rule_can_be_made_and_run(name: str) -> None:
    strategy = made_from(recipe(strategy=name))
    strategy.begin(vector(0.0), 0)
    for who in "abc":
        strategy.add(contribution(vector(0.5), who))

    assert strategy.finish().flat.tolist() == [0.5]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_can_be_made_and_run(name: str) -> None:
    strategy = made_from(recipe(optimizer={"name": name}))
    strategy.begin(vector(0.0), 0)
    strategy.add(contribution(vector(0.5)))

    assert strategy.finish().flat[0] > 0


def test_parameters_are_read() -> None:
    found = recipe(
        strategy="geometric-median",
        parameters={"iterations": 7, "smoothing": 0.5},
        weighting={"cap": 50},
        clipping={"norm": 3},
        optimizer={"name": "fedadam", "learningRate": 0.1},
        buffer={"size": 6},
    )

    assert found == Recipe(
        "geometric-median",
        {"iterations": 7, "smoothing": 0.5},
        {"cap": 50, "unstated": 1},
        {"norm": 3.0},
        "fedadam",
        {"learningRate": 0.1, "beta1": 0.9, "tau": 0.001, "beta2": 0.99},
        {"size": 6, "maxStaleness": 10},
    )


def test_byzantine_is_centered_clipping_with_disco_s_defaults() -> None:
    assert recipe({"aggregationStrategy": "byzantine"}) == Recipe(
        "centered-clipping", {"clippingRadius": 1.0, "maxIterations": 1, "beta": 0.9}
    )


def test_byzantine_has_its_parameters_where_clients_have_them() -> None:
    wishes = {"clippingRadius": 4, "maxIterations": 3, "beta": 0}
    training = {"aggregationStrategy": "byzantine", "privacy": {"byzantineFaultTolerance": wishes}}

    assert recipe(training).parameters == {"clippingRadius": 4.0, "maxIterations": 3, "beta": 0.0}


@pytest.mark.parametrize(
    ("training", "radius"),
    [
        ({"clippingRadius": 7}, 7.0),
        ({"privacy": {"clippingRadius": 6}}, 6.0),
        ({"clippingRadius": 7, "privacy": {"clippingRadius": 6}}, 7.0),
        ({"clippingRadius": -1, "privacy": {"clippingRadius": 6}}, 1.0),
        ({"clippingRadius": 0}, 1.0),
        ({"clippingRadius": 7, "privacy": {"byzantineFaultTolerance": {"clippingRadius": 2}}}, 2.0),
    ],
)
def test_byzantine_s_radius_is_the_one_that_clients_are_told(training: dict[str, Any], radius: float) -> None:
    task = Task.from_document(document({"aggregationStrategy": "byzantine", **training}))
    served = task.public()["trainingInformation"]["privacy"]["byzantineFaultTolerance"]["clippingRadius"]

    assert (recipe_of(task).parameters["clippingRadius"], float(served)) == (radius, radius)


def test_the_server_s_own_parameters_come_before_the_wire_s() -> None:
    training = {"aggregationStrategy": "byzantine", "clippingRadius": 7}

    assert recipe(training, parameters={"beta": 0.5}).parameters == {
        "clippingRadius": 7.0,
        "maxIterations": 1,
        "beta": 0.5,
    }


@pytest.mark.parametrize("name", RULES)
def test_clients_of_today_are_told_a_strategy_that_they_know(name: str) -> None:
    served = Task.from_document(document(strategy=name)).public()

    assert served["trainingInformation"]["aggregationStrategy"] in ("mean", "byzantine", "secure")


def test_privacy_is_read() -> None:
    found = recipe(privacy=PRIVACY, optimizer={"name": "fedavgm"})

    assert found.privacy == {
        "clippingNorm": 0.5,
        "noiseMultiplier": 2.0,
        "delta": 1e-5,
        "epsilonBudget": 8.0,
    }
    assert found.optimizer == "fedavgm"


def test_privacy_can_be_made_and_run() -> None:
    strategy = made_from(recipe(privacy=PRIVACY))
    strategy.begin(vector(0.0), 0)
    strategy.add(contribution(vector(0.5)))

    assert (strategy.finish().flat[0] != 0.5, strategy.cost()) == (True, 0.25)


# ── Problems ─────────────────────────────────────────────────────────────────────────────────────────────


def test_all_problems_are_told_at_once() -> None:
    found = problems(
        strategy="trimmed-mean",
        parameters={"trim": 0.5, "trimm": 0.2},
        weighting={"cap": 0},
        clipping={},
        optimizer={"name": "fedadam", "beta1": 1, "momentum": 0.9},
        buffer={"size": 2.5, "maxStaleness": -1},
    )

    assert found == {
        "aggregation.parameters.trimm": "is not a parameter of trimmed-mean: it has trim",
        "aggregation.parameters.trim": "must be a number from 0 to below 0.5, not 0.5",
        "aggregation.weighting.cap": "must be a whole number from 1 to 1e+06, not 0",
        "aggregation.weighting": "has no effect on trimmed-mean: "
        "only mean and geometric-median weigh contributions",
        "aggregation.clipping.norm": "is missing: clipping needs a number above 0",
        "aggregation.optimizer.momentum": "is not a parameter of fedadam: it has learningRate, beta1, tau, beta2",
        "aggregation.optimizer.beta1": "must be a number from 0 to below 1, not 1",
        "aggregation.buffer.size": "must be a whole number from 1 to 100000, not 2.5",
        "aggregation.buffer.maxStaleness": "must be a whole number from 0 to 1000, not -1",
    }


@pytest.mark.parametrize(
    ("aggregation", "path"),
    [
        ({"strategy": "bulyan"}, "aggregation.strategy"),
        ({"strategy": 3}, "aggregation.strategy"),
        ({"parameters": {"trim": 0.1}}, "aggregation.parameters.trim"),
        ({"parameters": []}, "aggregation.parameters"),
        ({"optimizer": {}}, "aggregation.optimizer.name"),
        ({"optimizer": {"name": "sgd"}}, "aggregation.optimizer.name"),
        ({"optimizer": "fedadam"}, "aggregation.optimizer"),
        ({"clipping": {"norm": True}}, "aggregation.clipping.norm"),
        ({"buffer": {}}, "aggregation.buffer.size"),
        ({"buffer": {"size": 3}}, "aggregation.buffer.size"),
        ({"weighting": {"cap": 5, "unstated": 6}}, "aggregation.weighting.unstated"),
    ],
)
def test_one_mistake_is_told_once_and_in_its_place(aggregation: dict[str, Any], path: str) -> None:
    assert list(problems(**aggregation)) == [path]


@pytest.mark.parametrize("name", ["krum", "multi-krum"])
def test_krum_needs_three_participants(name: str) -> None:
    assert list(problems({"minNbOfParticipants": 2}, strategy=name)) == ["aggregation.strategy"]


def test_byzantine_is_no_other_rule() -> None:
    assert list(problems({"aggregationStrategy": "byzantine"}, strategy="median")) == ["aggregation.strategy"]


def test_a_radius_that_the_server_cannot_use_is_told_where_clients_have_it() -> None:
    wishes = {"clippingRadius": 1, "maxIterations": 10**6}
    training = {"aggregationStrategy": "byzantine", "privacy": {"byzantineFaultTolerance": wishes}}

    assert list(problems(training)) == ["trainingInformation.privacy.byzantineFaultTolerance.maxIterations"]


@pytest.mark.parametrize(
    ("aggregation", "path"),
    [
        ({"strategy": "median"}, "aggregation.strategy"),
        ({"clipping": {"norm": 1}}, "aggregation.clipping"),
        ({"weighting": {}}, "aggregation.weighting"),
        ({"buffer": {"size": 4}}, "aggregation.buffer"),
    ],
)
def test_secure_aggregation_hides_what_rules_look_at(aggregation: dict[str, Any], path: str) -> None:
    assert list(problems({"aggregationStrategy": "secure"}, **aggregation)) == [path]


def test_secure_aggregation_among_peers_leaves_the_server_s_rounds_alone() -> None:
    training = {"aggregationStrategy": "secure", "scheme": "decentralized"}

    assert recipe(training, strategy="median").rule == "median"


@pytest.mark.parametrize(
    ("aggregation", "path"),
    [
        ({"strategy": "median"}, "aggregation.strategy"),
        ({"strategy": "geometric-median"}, "aggregation.strategy"),
        ({"weighting": {}}, "aggregation.weighting"),
        ({"clipping": {"norm": 1}}, "aggregation.clipping"),
        ({"buffer": {"size": 4}}, "aggregation.buffer"),
        ({"maxNorm": 1}, "aggregation.maxNorm"),
    ],
)
def test_what_privacy_takes_no_account_of_is_refused(aggregation: dict[str, Any], path: str) -> None:
    assert list(problems(privacy=PRIVACY, **aggregation)) == [path]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"noiseMultiplier": 0}, "noiseMultiplier"),
        ({"noiseMultiplier": None}, "noiseMultiplier"),
        ({"clippingNorm": 0}, "clippingNorm"),
        ({"delta": 0}, "delta"),
        ({"delta": 1}, "delta"),
        ({"epsilonBudget": 0}, "epsilonBudget"),
        ({"population": 1000}, "population"),
    ],
)
def test_privacy_s_numbers_are_checked(change: dict[str, Any], path: str) -> None:
    assert list(problems(privacy={**PRIVACY, **change})) == [f"aggregation.privacy.{path}"]


def test_a_budget_that_no_round_fits_in_is_refused() -> None:
    assert problems(privacy={**PRIVACY, "epsilonBudget": 2}) == {
        "aggregation.privacy.epsilonBudget": "is 2, but the first round spends 2.166: add noise, or raise it"
    }


def test_privacy_and_secure_aggregation_exclude_each_other() -> None:
    assert list(problems({"aggregationStrategy": "secure"}, privacy=PRIVACY)) == ["aggregation.privacy"]


def test_privacy_without_the_accountant_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disco.core.aggregation.recipe.can_account", lambda: False)

    assert problems(privacy=PRIVACY) == {
        "aggregation.privacy": "needs dp-accounting to account for it: pip install 'disco-server[privacy]'"
    }


def test_privacy_does_not_reach_peers() -> None:
    wishes = document(privacy=PRIVACY)
    del wishes["session"]
    with pytest.raises(InvalidTask) as caught:
        Task.from_document(wishes)

    assert [problem.path for problem in caught.value.problems] == ["task.session.schemes"]


@pytest.mark.parametrize(
    ("parameter", "rule"),
    [
        (Parameter(1, low=0), "a number from 0 up"),
        (Parameter(1, low=0, above_low=True), "a number above 0"),
        (Parameter(1, low=1, high=9, whole=True), "a whole number from 1 to 9"),
        (Parameter(1, low=0, high=0.5, below_high=True), "a number from 0 to below 0.5"),
    ],
)
def test_a_parameter_says_what_it_may_be(parameter: Parameter, rule: str) -> None:
    assert parameter.rule == rule


def test_a_document_of_wrong_types_is_read_without_failing() -> None:
    wrong = {"aggregation": [1], "trainingInformation": "none"}

    assert read_recipe(wrong, "task") == (Recipe("mean", {}), [])
