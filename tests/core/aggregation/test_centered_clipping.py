"""Centered clipping with momentum, against its formula written with whole arrays."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from disco.core.aggregation.centered_clipping import PATIENCE_ROUNDS, CenteredClipping
from disco.core.aggregation.held import InMemory
from disco.core.names import ParticipantID
from disco.core.weights import Float32s, Weights
from tests.core.aggregation.updates import SHAPES, aggregated, random_weights, vector

A, B = ParticipantID("a"), ParticipantID("b")


class Reference:
    """The docstring's formula, in float64."""

    def __init__(self, radius: float, iterations: int, beta: float, size: int) -> None:
        self.radius, self.iterations, self.beta = radius, iterations, beta
        self.momenta: dict[int, NDArray[np.float64]] = {}
        self.v = np.zeros(size)

    def round(self, w: NDArray[np.float64], updates: dict[int, NDArray[np.float64]]) -> NDArray[np.float64]:
        for who, update in updates.items():
            known = self.momenta.get(who)
            change = update - w
            self.momenta[who] = change if known is None else (1 - self.beta) * change + self.beta * known
        for _ in range(self.iterations):
            steps = [self.momenta[who] - self.v for who in updates]
            clipped = [step * min(1.0, self.radius / float(np.linalg.norm(step))) for step in steps]
            self.v = self.v + np.mean(clipped, axis=0)
        return w + self.v


@pytest.mark.parametrize(("radius", "iterations", "beta"), [(1.0, 1, 0.9), (0.5, 5, 0.0), (100.0, 2, 0.5)])
def test_rounds_follow_the_formula(radius: float, iterations: int, beta: float) -> None:
    rule = CenteredClipping(radius, iterations, beta)
    current = random_weights(0)
    reference = Reference(radius, iterations, beta, current.parameters)
    for number in range(4):
        present = range(3) if number != 2 else range(2)  # one misses a round
        updates = {who: random_weights(10 * number + who + 1) for who in present}
        rule.begin(current)
        for who, update in updates.items():
            rule.add(update, 1.0, ParticipantID(str(who)))
        wanted = reference.round(
            current.flat.astype(np.float64),
            {who: update.flat.astype(np.float64) for who, update in updates.items()},
        )
        found = rule.finish()
        np.testing.assert_allclose(found.flat, wanted, rtol=1e-5, atol=1e-5)
        current = Weights.from_flat(wanted.astype(np.float32), SHAPES)


def test_a_hostile_contribution_moves_the_model_by_its_share_of_the_radius() -> None:
    updates = [vector(0.0, 0.0)] * 9 + [vector(1e30, 0.0)]

    found = aggregated(CenteredClipping(1.0), vector(0.0, 0.0), updates).flat

    np.testing.assert_allclose(found, [0.1, 0.0], atol=1e-7)


def test_without_momentum_and_within_the_radius_it_is_the_mean() -> None:
    updates = [random_weights(seed) for seed in range(5)]
    wanted = np.mean([update.flat for update in updates], axis=0, dtype=np.float64)

    found = aggregated(CenteredClipping(1e9, beta=0.0), random_weights(9), updates).flat

    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_round_that_was_not_kept_leaves_the_center() -> None:
    rule = CenteredClipping(0.25)
    rule.begin(vector(0.0))
    rule.add(vector(5.0), 1.0, A)
    rule.finish()
    rule.add(vector(5.0), 1.0, B)

    assert rule.finish().flat.tolist() == [0.25]


def test_the_center_goes_on_after_a_restart() -> None:
    rule, restarted = CenteredClipping(0.1), CenteredClipping(0.1)
    after = aggregated(rule, vector(0.0), [vector(5.0)])
    kept = {name: value.copy() for name, value in rule.state().items()}

    assert restarted.restore(kept, 1)
    assert aggregated(restarted, after, [vector(5.0)]).flat[0] == pytest.approx(0.1 + 0.2)


def test_a_center_of_another_size_begins_anew() -> None:
    rule = CenteredClipping()

    assert not rule.restore({"clipping-center": np.ones(3, dtype=np.float32)}, 1)
    assert aggregated(rule, vector(0.0), [vector(0.5)]).flat.tolist() == [0.5]


class Counting(InMemory):
    """Counts the rows that are taken."""

    taken = 0

    def take(self, parameters: int) -> Float32s:
        self.taken += 1
        return super().take(parameters)

    def give_back(self, row: Float32s) -> None:
        self.taken -= 1


def test_momenta_of_who_stays_away_are_forgotten() -> None:
    space = Counting()
    rule = CenteredClipping(space=space)
    rule.begin(vector(0.0))
    rule.add(vector(1.0), 1.0, A)
    for _ in range(PATIENCE_ROUNDS):
        rule.begin(rule.finish())
        rule.add(vector(1.0), 1.0, B)
    assert space.taken == 2

    rule.begin(rule.finish())

    assert space.taken == 1


def test_starting_anew_forgets_everything() -> None:
    space = Counting()
    rule = CenteredClipping(space=space)
    aggregated(rule, vector(0.0), [vector(1.0), vector(2.0)])

    assert not rule.restore({}, 1)
    assert space.taken == 0
    assert aggregated(rule, vector(0.0), [vector(0.5)]).flat.tolist() == [0.5]
