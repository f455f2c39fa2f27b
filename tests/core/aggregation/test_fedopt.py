"""Server optimizers, against the papers' updates written in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from disco.core.aggregation.fedopt import Adagrad, Adam, AvgM, Method, ServerOptimizer, Yogi
from disco.core.weights import Weights
from tests.core.aggregation.updates import SHAPES, random_weights, vector

#: Δ of five rounds, one coordinate.
CHANGES = [0.5, -0.25, 0.125, 1.0, -2.0]


def reference(grow: Callable[[float, float], float], rate: float, beta1: float, tau: float) -> list[float]:
    """Reddi et al. 2021, algorithm 2."""
    w, m, v, found = 0.0, 0.0, tau**2, []
    for change in CHANGES:
        m = beta1 * m + (1 - beta1) * change
        v = grow(v, change**2)
        w += rate * m / (math.sqrt(v) + tau)
        found.append(w)
    return found


def walked(method: Method) -> list[float]:
    step = ServerOptimizer(method)
    current, found = vector(0.0), []
    for change in CHANGES:
        step.begin(current)
        current = step.apply(vector(float(current.flat[0]) + change))
        found.append(float(current.flat[0]))
    return found


def sign(value: float) -> float:
    return (value > 0) - (value < 0)


@pytest.mark.parametrize(
    ("method", "grow"),
    [
        (Adagrad(0.1, 0.9, 0.01), lambda v, square: v + square),
        (Adam(0.1, 0.9, 0.01, 0.99), lambda v, square: 0.99 * v + 0.01 * square),
        (Yogi(0.1, 0.9, 0.01, 0.99), lambda v, square: v - 0.01 * square * sign(v - square)),
    ],
    ids=["fedadagrad", "fedadam", "fedyogi"],
)
def test_adaptive_methods_follow_the_paper(method: Method, grow: Callable[[float, float], float]) -> None:
    np.testing.assert_allclose(walked(method), reference(grow, 0.1, 0.9, 0.01), rtol=1e-5)


def test_fedavgm_by_hand() -> None:
    # m: 0.5, 0.2, 0.305, 1.2745, -0.85295
    np.testing.assert_allclose(walked(AvgM(1.0, 0.9)), [0.5, 0.7, 1.005, 2.2795, 1.42655], rtol=1e-6)


def test_fedavgm_without_momentum_is_a_learning_rate() -> None:
    np.testing.assert_allclose(walked(AvgM(0.5, 0.0)), np.cumsum(CHANGES) * 0.5, rtol=1e-6)


METHODS: list[Method] = [AvgM(), Adagrad(), Adam(), Yogi()]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


@every_method
def test_a_step_can_be_taken_again_with_one_result(method: Method) -> None:
    step = ServerOptimizer(method)
    step.begin(random_weights(0))
    first = step.apply(random_weights(1))

    assert step.apply(random_weights(1)).flat.tobytes() == first.flat.tobytes()


@every_method
def test_what_was_kept_goes_on_where_it_was(method: Method) -> None:
    step, restarted = ServerOptimizer(method), ServerOptimizer(method)
    step.begin(random_weights(0))
    after = step.apply(random_weights(1))
    assert restarted.restore({name: value.copy() for name, value in step.state().items()}, after.parameters)
    for one in (step, restarted):
        one.begin(after)

    assert restarted.apply(random_weights(2)).flat.tobytes() == step.apply(random_weights(2)).flat.tobytes()


@every_method
def test_what_a_round_remembers_is_dropped_with_the_round(method: Method) -> None:
    """The disk refused the round's model: the next attempt begins from what was before."""
    step = ServerOptimizer(method)
    step.begin(random_weights(0))
    step.apply(random_weights(1))
    fresh = ServerOptimizer(method)
    fresh.begin(random_weights(0))

    assert step.apply(random_weights(2)).flat.tobytes() == fresh.apply(random_weights(2)).flat.tobytes()


@every_method
def test_another_method_s_memory_is_not_taken(method: Method) -> None:
    other = ServerOptimizer(METHODS[(METHODS.index(method) + 1) % len(METHODS)])
    other.begin(random_weights(0))
    other.apply(random_weights(1))

    assert not ServerOptimizer(method).restore(other.state(), random_weights(0).parameters)


@every_method
def test_memory_of_another_model_begins_anew(method: Method) -> None:
    step, fresh = ServerOptimizer(method), ServerOptimizer(method)
    step.begin(vector(0.0))
    step.apply(vector(1.0))
    for one in (step, fresh):
        one.begin(random_weights(0))

    assert step.apply(random_weights(1)).flat.tobytes() == fresh.apply(random_weights(1)).flat.tobytes()


@every_method
def test_a_model_of_many_blocks_is_moved_whole(method: Method) -> None:
    shape = [(40_001,)]
    step = ServerOptimizer(method)
    step.begin(Weights.zeros(shape))

    found = step.apply(random_weights(1, 1.0, shape)).flat

    assert np.array_equal(np.sign(found), np.sign(random_weights(1, 1.0, shape).flat))


@every_method
def test_the_structure_is_kept(method: Method) -> None:
    step = ServerOptimizer(method)
    step.begin(random_weights(0))

    assert step.apply(random_weights(1)).shapes == SHAPES
