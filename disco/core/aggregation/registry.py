"""Makes the strategy that a task asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from disco.core.aggregation import Aggregator, Change
from disco.core.aggregation.centered_clipping import CenteredClipping
from disco.core.aggregation.fedopt import Adagrad, Adam, AvgM, Method, ServerOptimizer, Yogi
from disco.core.aggregation.geometric_median import GeometricMedian
from disco.core.aggregation.held import InMemory, Space
from disco.core.aggregation.krum import Krum
from disco.core.aggregation.mean import Mean
from disco.core.aggregation.median import Median
from disco.core.aggregation.norm_clipping import NormClipping
from disco.core.aggregation.private_mean import PrivateMean
from disco.core.aggregation.recipe import Recipe, Values, read_recipe
from disco.core.aggregation.staleness import Staleness
from disco.core.aggregation.strategy import Strategy, Weighing
from disco.core.aggregation.trimmed_mean import TrimmedMean
from disco.core.aggregation.weighing import BySamples, Equally
from disco.core.task import Task

_RULES: Mapping[str, Callable[[Values, Space, int], Aggregator]] = {
    "mean": lambda values, space, headroom: Mean(headroom),
    "median": lambda values, space, headroom: Median(space),
    "trimmed-mean": lambda values, space, headroom: TrimmedMean(values["trim"], space),
    "krum": lambda values, space, headroom: Krum(values["hostile"], space=space),
    "multi-krum": lambda values, space, headroom: Krum(values["hostile"], multi=True, space=space),
    "geometric-median": lambda values, space, headroom: GeometricMedian(
        values["smoothing"], int(values["iterations"]), space
    ),
    "centered-clipping": lambda values, space, headroom: CenteredClipping(
        values["clippingRadius"], int(values["maxIterations"]), values["beta"], space
    ),
}

_OPTIMIZERS: Mapping[str, Callable[[Values], Method]] = {
    "fedavgm": lambda values: AvgM(values["learningRate"], values["momentum"]),
    "fedadagrad": lambda values: Adagrad(values["learningRate"], values["beta1"], values["tau"]),
    "fedadam": lambda values: Adam(values["learningRate"], values["beta1"], values["tau"], values["beta2"]),
    "fedyogi": lambda values: Yogi(values["learningRate"], values["beta1"], values["tau"], values["beta2"]),
}


def recipe_of(task: Task) -> Recipe:
    """Return the aggregation that a task asks for."""
    return read_recipe(task.document, "task")[0]


def strategy_for(task: Task, space: Space | None = None) -> Strategy:
    """Make the strategy that a task asks for.

    Args:
        task: validated, so its recipe is right.
        space: where contributions are held by rules that hold them; in memory if None.
    """
    return made_from(recipe_of(task), space)


def made_from(recipe: Recipe, space: Space | None = None) -> Strategy:
    """Make the strategy that a recipe describes; see `strategy_for`."""
    weighing: Weighing = Equally()
    headroom = Equally.headroom
    if recipe.weighting is not None:
        weighing = BySamples(int(recipe.weighting["cap"]), int(recipe.weighting["unstated"]))
        headroom = BySamples.headroom
    changes: list[Change] = []
    if recipe.buffer is not None:
        changes.append(Staleness(int(recipe.buffer["maxStaleness"])))
    if recipe.clipping is not None:
        changes.append(NormClipping(recipe.clipping["norm"]))
    steps = []
    if recipe.optimizer is not None:
        steps.append(ServerOptimizer(_OPTIMIZERS[recipe.optimizer](recipe.optimizer_parameters or {})))
    rule = _rule(recipe, space or InMemory(), headroom)
    return Strategy(rule, weighing=weighing, changes=changes, steps=steps)


def _rule(recipe: Recipe, space: Space, headroom: int) -> Aggregator:
    privacy = recipe.privacy
    if privacy is None:
        return _RULES[recipe.rule](recipe.parameters, space, headroom)
    return PrivateMean(
        privacy["clippingNorm"], privacy["noiseMultiplier"], privacy["delta"], privacy["epsilonBudget"]
    )
