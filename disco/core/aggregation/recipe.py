"""What a task says about its aggregation: read, and checked in full when the task is added.

The table ``aggregation`` of a task's document is the server's own; DISCO's clients neither need nor refuse it:

    aggregation.strategy      a rule by name; ``mean`` if not given, or ``centered-clipping`` where the wire's word
                              ``trainingInformation.aggregationStrategy`` is ``byzantine``
    aggregation.parameters    the rule's own
    aggregation.weighting     ``{cap, unstated}``: contributions count by their samples
    aggregation.clipping      ``{norm}``
    aggregation.optimizer     ``{name, …}``
    aggregation.buffer        ``{size, maxStaleness}``
    aggregation.privacy       ``{clippingNorm, noiseMultiplier, delta, epsilonBudget}``: the mean, with noise
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from disco.core.aggregation.parameters import Parameter, Parameters, Reading
from disco.core.aggregation.privacy_accounting import NEEDS_EXTRA, can_account, cost, epsilon_of
from disco.errors import Problem

_ABOVE_0 = Parameter(None, low=0.0, above_low=True)
_DECAY = Parameter(0.9, low=0.0, high=1.0, below_high=True)
_PART = Parameter(0.2, low=0.0, high=0.5, below_high=True)
_ADAPTIVE: Parameters = {
    "learningRate": _ABOVE_0.with_default(0.01),
    "beta1": _DECAY,
    "tau": _ABOVE_0.with_default(1e-3),
}

#: The rules by name, with their parameters.
RULES: Mapping[str, Parameters] = {
    "mean": {},
    "median": {},
    "trimmed-mean": {"trim": _PART},
    "krum": {"hostile": _PART},
    "multi-krum": {"hostile": _PART},
    "geometric-median": {
        "smoothing": _ABOVE_0.with_default(1e-6),
        "iterations": Parameter(100, low=1, high=10_000, whole=True),
    },
    "centered-clipping": {
        "clippingRadius": _ABOVE_0.with_default(1.0),
        "maxIterations": Parameter(1, low=1, high=1_000, whole=True),
        "beta": Parameter(0.9, low=0.0, high=1.0),
    },
}

#: The server optimizers by name, with their parameters.
OPTIMIZERS: Mapping[str, Parameters] = {
    "fedavgm": {"learningRate": _ABOVE_0.with_default(1.0), "momentum": _DECAY},
    "fedadagrad": _ADAPTIVE,
    "fedadam": {**_ADAPTIVE, "beta2": _DECAY.with_default(0.99)},
    "fedyogi": {**_ADAPTIVE, "beta2": _DECAY.with_default(0.99)},
}

#: What may stand in the tables around a rule.
WEIGHTING: Parameters = {
    "cap": Parameter(1000, low=1, high=1_000_000, whole=True),
    "unstated": Parameter(1, low=1, high=1_000_000, whole=True),
}
CLIPPING: Parameters = {"norm": _ABOVE_0}
BUFFER: Parameters = {
    "size": Parameter(None, low=1, high=100_000, whole=True),
    "maxStaleness": Parameter(10, low=0, high=1_000, whole=True),
}
PRIVACY: Parameters = {
    "clippingNorm": _ABOVE_0,
    "noiseMultiplier": Parameter(None, low=0.01, high=1e6),
    "delta": Parameter(1e-5, low=0.0, high=1.0, above_low=True, below_high=True),
    "epsilonBudget": _ABOVE_0,
}

#: The rules whose result depends on how much a contribution counts.
WEIGHED_RULES = ("mean", "geometric-median")

#: With fewer contributions, Krum cannot tell which is closer to the others.
KRUM_PARTICIPANTS = 3

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The aggregation that a task asks for.

    Args:
        rule: a name of `RULES`, with its `parameters`.
        weighting: how samples count; None if contributions count the same.
        clipping: the norm that changes are clipped to, or None.
        optimizer: a name of `OPTIMIZERS`, with its `optimizer_parameters`, or None.
        buffer: when an asynchronous round closes, or None where rounds are synchronous.
        privacy: of the mean with noise, or None.
    """

    rule: str
    parameters: Values
    weighting: Values | None = None
    clipping: Values | None = None
    optimizer: str | None = None
    optimizer_parameters: Values | None = None
    buffer: Values | None = None
    privacy: Values | None = None


def read_recipe(
    document: Mapping[str, Any], path: str, *, minimum: int = KRUM_PARTICIPANTS, masked: bool = False
) -> tuple[Recipe, list[Problem]]:
    """Read what a task's document says, and everything that is wrong with it.

    Args:
        document: what is not of the schema's type in it is passed over.
        path: where the document is.
        minimum: participants that make a federated round.
        masked: whether the server is to see sums of contributions only.

    Returns:
        The recipe, which is to be used only if there are no problems, and the problems.
    """
    table = _table(document, "aggregation")
    reading = Reading(f"{path}.aggregation")
    defaults = _wire_parameters(document, path, reading)
    rule = _name(table, "strategy", RULES, reading) or ("mean" if defaults is None else "centered-clipping")
    known = RULES[rule]
    if defaults is not None and rule == "centered-clipping":
        known = {name: parameter.with_default(defaults[name]) for name, parameter in known.items()}
    chosen = _table(table, "optimizer")
    optimizer = _name(chosen, "name", OPTIMIZERS, reading, "optimizer.")
    if isinstance(table.get("optimizer"), Mapping) and "name" not in chosen:
        reading.problem("optimizer.name", f"is missing: one of {', '.join(OPTIMIZERS)}")
    steps = {name: value for name, value in chosen.items() if name != "name"}
    recipe = Recipe(
        rule,
        reading.read("parameters", _table(table, "parameters"), known, rule),
        reading.optional(table, "weighting", WEIGHTING),
        reading.optional(table, "clipping", CLIPPING),
        optimizer,
        None if optimizer is None else reading.read("optimizer", steps, OPTIMIZERS[optimizer], optimizer),
        reading.optional(table, "buffer", BUFFER),
        reading.optional(table, "privacy", PRIVACY),
    )
    byzantine = defaults is not None
    problems = [*reading.problems, *_conflicts(recipe, path, minimum, masked=masked, byzantine=byzantine)]
    if recipe.privacy is not None:
        problems += _conflicts_of_privacy(recipe, table, path)
    return recipe, problems


def _conflicts(
    recipe: Recipe, path: str, minimum: int, *, masked: bool, byzantine: bool
) -> Iterator[Problem]:
    """Tell which choices exclude each other."""
    where = f"{path}.aggregation"
    if byzantine and recipe.rule != "centered-clipping":
        why = f"is {recipe.rule}, but trainingInformation.aggregationStrategy is byzantine, which is centered-clipping"
        yield Problem(f"{where}.strategy", why)
    if recipe.weighting is not None and recipe.rule not in WEIGHED_RULES:
        rules = " and ".join(WEIGHED_RULES)
        yield Problem(
            f"{where}.weighting", f"has no effect on {recipe.rule}: only {rules} weigh contributions"
        )
    if recipe.weighting is not None and recipe.weighting.keys() == WEIGHTING.keys():
        cap, unstated = recipe.weighting["cap"], recipe.weighting["unstated"]
        if unstated > cap:
            yield Problem(f"{where}.weighting.unstated", f"is {unstated:g}, above the cap of {cap:g}")
    if recipe.buffer is not None and recipe.buffer.get("size", minimum) < minimum:
        size = recipe.buffer["size"]
        yield Problem(f"{where}.buffer.size", f"is {size:g}, but a round takes {minimum} participants")
    if recipe.rule in ("krum", "multi-krum") and minimum < KRUM_PARTICIPANTS:
        why = f"needs rounds of at least {KRUM_PARTICIPANTS} participants, but {minimum} make one here"
        yield Problem(f"{where}.strategy", f"{recipe.rule} {why}")
    if masked:
        looks = {"strategy": recipe.rule != "mean", "weighting": recipe.weighting is not None}
        looks |= {"clipping": recipe.clipping is not None, "buffer": recipe.buffer is not None}
        looks |= {"privacy": recipe.privacy is not None}
        for name in (name for name, single in looks.items() if single):
            yield Problem(f"{where}.{name}", "looks at single contributions, which secure aggregation hides")


def _conflicts_of_privacy(recipe: Recipe, table: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """Tell what the promise of `PrivateMean` does not hold together with, and budgets that no round fits in."""
    where = f"{path}.aggregation"
    if recipe.rule != "mean":
        yield Problem(f"{where}.strategy", f"is {recipe.rule}, but privacy is accounted for the mean only")
    excluded = {
        "weighting": "makes contributions count by their samples, of which privacy takes no account",
        "clipping": "is done by privacy already, and would publish how many it clipped: privacy has clippingNorm",
        "buffer": "lets contributions of older rounds count, of which privacy takes no account",
        "maxNorm": "refuses contributions by their norm, which tells of them: privacy has clippingNorm instead",
    }
    yield from (Problem(f"{where}.{name}", why) for name, why in excluded.items() if name in table)
    wishes = recipe.privacy or {}
    if not can_account():
        yield Problem(f"{where}.privacy", NEEDS_EXTRA)
    elif wishes.keys() == PRIVACY.keys():
        first = epsilon_of(cost(wishes["noiseMultiplier"]), wishes["delta"])
        if not first <= wishes["epsilonBudget"]:
            why = f"is {wishes['epsilonBudget']:g}, but the first round spends {first:.4g}: add noise, or raise it"
            yield Problem(f"{where}.privacy.epsilonBudget", why)


def _name(
    table: Mapping[str, Any], key: str, known: Mapping[str, Any], reading: Reading, place: str = ""
) -> str | None:
    """Read a name; None if there is none, or none that is known."""
    name = table.get(key)
    if not isinstance(name, str):
        return None
    if name not in known:
        reading.problem(f"{place}{key}", f"must be one of {', '.join(known)}, not {name!r:.40}")
        return None
    return name


def _wire_parameters(document: Mapping[str, Any], path: str, reading: Reading) -> Values | None:
    """Read the parameters of DISCO's ``byzantine`` in its clients' words; None if the task does not name it.

    They stand in ``privacy.byzantineFaultTolerance``, in some versions in ``trainingInformation`` itself.
    """
    training = _table(document, "trainingInformation")
    if training.get("aggregationStrategy") != "byzantine":
        return None
    known = RULES["centered-clipping"]
    privacy = _table(training, "privacy")
    given = {name: training[name] for name in known if name in training}
    radius = given.pop("clippingRadius", privacy.get("clippingRadius"))
    if isinstance(radius, int | float) and radius > 0:  # v2's and v3's own may be any number
        given["clippingRadius"] = radius
    place = "trainingInformation"
    if "byzantineFaultTolerance" in privacy:
        place += ".privacy.byzantineFaultTolerance"
        given |= _table(privacy, "byzantineFaultTolerance")
    wire = Reading(path)
    values = wire.read(place, {name: given[name] for name in known if name in given}, known, "byzantine")
    reading.problems += wire.problems
    return {name: values.get(name, parameter.default or 0.0) for name, parameter in known.items()}


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}
