"""The mean with noise: what one contribution changes, what noise is added, and what rounds spend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from disco.core.aggregation.noise import fresh_key, gaussian
from disco.core.aggregation.privacy_accounting import cost, epsilon
from disco.core.aggregation.private_mean import PrivateMean
from disco.core.aggregation.strategy import Strategy
from disco.core.weights import Weights
from disco.errors import InvalidUpdate
from tests.core.aggregation.updates import aggregated, contribution, poisoned, random_weights, vector

SIZE = 40_000


def private(norm: float = 1.0, multiplier: float = 1.0, budget: float = 1e6, key: int = 7) -> PrivateMean:
    return PrivateMean(norm, multiplier, 1e-5, budget, keys=lambda: key)


def noise_of(key: int, size: int) -> NDArray[np.float64]:
    return gaussian(key).standard_normal(size)


def large(value: float) -> Weights:
    return Weights.from_flat(np.full(SIZE, value, dtype=np.float32), [(SIZE,)])


def closed(rule: PrivateMean, *, rounds: int) -> PrivateMean:
    """Close rounds of one contribution each, and begin the next."""
    for _ in range(rounds):
        rule.begin(vector(0.0))
        rule.add(vector(1.0), 1.0)
        rule.finish()
    rule.begin(vector(0.0))
    return rule


# ── The sum ──────────────────────────────────────────────────────────────────────────────────────────────


def test_it_is_the_current_model_plus_clipped_changes_and_noise_over_their_number() -> None:
    current, updates = random_weights(0), [random_weights(seed, 3.0) for seed in (1, 2, 3)]
    changes = [update.flat.astype(np.float64) - current.flat for update in updates]
    clipped = [change * min(1.0, 2.0 / float(np.linalg.norm(change))) for change in changes]
    noise = 0.5 * 2.0 * noise_of(7, current.parameters)
    expected = current.flat + (sum(clipped) + noise) / 3

    found = aggregated(private(norm=2.0, multiplier=0.5), current, updates)

    np.testing.assert_allclose(found.flat, expected, rtol=1e-6, atol=1e-7)


@given(scale=st.floats(1e-3, 1e30), seed=st.integers(0, 99), norm=st.floats(1e-3, 1e3))
def test_one_contribution_changes_the_sum_by_at_most_the_clipping_norm(
    scale: float, seed: int, norm: float
) -> None:
    current, update = random_weights(seed), random_weights(seed + 100, scale)
    rule = private(norm=norm)
    rule.begin(current)
    rule.add(update, 1.0)

    assert np.linalg.norm(rule._sum) <= norm * (1 + 1e-9)


def test_zeroing_a_contribution_out_leaves_the_divisor_as_it_was() -> None:
    with_it = aggregated(private(norm=10.0), vector(0.0), [vector(3.0), vector(5.0)])
    without = aggregated(private(norm=10.0), vector(0.0), [vector(3.0), vector(0.0)])

    assert float(with_it.flat[0] - without.flat[0]) == pytest.approx(5.0 / 2)


def test_a_share_changes_nothing() -> None:
    updates = [vector(0.5), vector(0.25)]

    plain = aggregated(private(), vector(0.0), updates)
    weighed = aggregated(private(), vector(0.0), updates, [1.0, 1000.0])

    assert plain.equals(weighed)


def test_what_does_not_move_is_summed_as_nothing() -> None:
    found = aggregated(private(multiplier=0.01), vector(1.0), [vector(1.0)])

    assert found.flat[0] == pytest.approx(1.0 + 0.01 * noise_of(7, 1)[0])


def test_nobody_s_mean_is_the_current_model_without_noise_and_costs_nothing() -> None:
    rule = private()

    assert (aggregated(rule, vector(2.0), []).flat.tolist(), rule.cost(), rule.figures()) == ([2.0], 0.0, {})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_and_leaves_nothing_behind(value: float) -> None:
    rule = private()
    rule.begin(random_weights(0))
    rule.add(random_weights(1), 1.0)
    before = rule.finish()

    with pytest.raises(InvalidUpdate, match="not finite"):
        rule.add(poisoned(random_weights(2), value), 1.0)
    assert rule.finish().equals(before)


def test_another_structure_is_refused() -> None:
    rule = private()
    rule.begin(vector(0.0))

    with pytest.raises(InvalidUpdate, match="shape"):
        rule.add(vector(0.0, 1.0), 1.0)


# ── The noise ────────────────────────────────────────────────────────────────────────────────────────────


def test_noise_has_the_deviation_that_is_told() -> None:
    rule = PrivateMean(0.5, 3.0, 1e-5, 1e6)
    found = aggregated(rule, large(0.0), [large(0.0)] * 4)
    told = rule.figures()["noise"]

    assert told == 3.0 * 0.5 / 4
    assert float(np.std(found.flat)) == pytest.approx(told, rel=0.03)  # 8 standard errors


def test_noise_is_normal() -> None:
    from scipy.stats import kstest

    found = aggregated(private(key=20), large(0.0), [large(0.0)])

    assert kstest(found.flat, "norm").pvalue > 0.001


def test_every_round_has_noise_of_its_own() -> None:
    rule = PrivateMean(1.0, 1.0, 1e-5, 1e6)
    first, second = (aggregated(rule, large(0.0), [large(0.0)]).flat for _ in range(2))

    assert abs(float(np.corrcoef(first, second)[0, 1])) < 0.05  # 10 standard errors


def test_a_round_that_is_finished_again_has_the_same_noise() -> None:
    rule = PrivateMean(1.0, 1.0, 1e-5, 1e6)
    rule.begin(large(0.0))
    rule.add(large(0.0), 1.0)

    assert rule.finish().equals(rule.finish())


def test_keys_come_from_the_operating_system_s_randomness() -> None:
    assert len({fresh_key() >> 64 for _ in range(100)}) == 100


# ── What is spent ────────────────────────────────────────────────────────────────────────────────────────


def test_a_round_s_figure_is_epsilon_of_all_rounds_up_to_it() -> None:
    rule = closed(private(multiplier=2.0), rounds=4)
    rule.add(vector(1.0), 1.0)
    rule.finish()

    assert rule.figures()["epsilon"] == pytest.approx(epsilon(2.0, 5, 1e-5))


def test_figures_tell_nothing_of_what_was_contributed() -> None:
    far, near = private(), private()
    aggregated(far, vector(0.0), [vector(1e6)])
    aggregated(near, vector(0.0), [vector(0.0)])

    assert far.figures() == near.figures()


def test_what_earlier_rounds_spent_counts() -> None:
    rule = private(multiplier=2.0)
    rule.charge(9 * cost(2.0))
    aggregated(rule, vector(0.0), [vector(1.0)])

    assert rule.figures()["epsilon"] == pytest.approx(epsilon(2.0, 10, 1e-5))


def test_a_new_start_gives_nothing_back() -> None:
    rule = closed(private(multiplier=2.0), rounds=3)
    rule.restore({}, 1)
    aggregated(rule, vector(0.0), [vector(1.0)])

    assert rule.figures()["epsilon"] == pytest.approx(epsilon(2.0, 4, 1e-5))


def test_a_round_that_never_closed_spends_nothing() -> None:
    rule = private(multiplier=2.0)
    aggregated(rule, vector(0.0), [vector(1.0)])
    rule.restore({}, 1)
    aggregated(rule, vector(0.0), [vector(1.0)])

    assert rule.figures()["epsilon"] == pytest.approx(epsilon(2.0, 1, 1e-5))


def test_a_round_that_is_finished_twice_is_spent_once() -> None:
    rule = private(multiplier=2.0)
    rule.begin(vector(0.0))
    rule.add(vector(1.0), 1.0)
    rule.finish()
    rule.finish()
    rule.begin(vector(0.0))
    rule.add(vector(1.0), 1.0)
    rule.finish()

    assert rule.figures()["epsilon"] == pytest.approx(epsilon(2.0, 2, 1e-5))


@pytest.mark.parametrize(("rounds", "goes_on"), [(0, True), (2, True), (3, False)])
def test_it_ends_before_the_round_that_would_exceed_the_budget(rounds: int, goes_on: bool) -> None:
    budget = epsilon(4.0, 3, 1e-5) + 1e-6

    assert (closed(private(multiplier=4.0, budget=budget), rounds=rounds).ended() == "") is goes_on


def test_the_end_says_what_is_spent_of_what() -> None:
    ended = closed(private(multiplier=4.0, budget=2.0), rounds=3).ended()

    assert ended == (
        "its privacy budget is spent: ε is 1.847 of 2 (δ = 1e-05), and another round would exceed it"
    )


def test_contributions_are_not_kept() -> None:
    rule = private()
    rule.begin(vector(0.0))
    mine = vector(0.5)
    rule.add(mine, 1.0)
    before = rule.finish()
    mine.flat[0] = 0.75

    assert rule.finish().equals(before)


def test_noise_too_large_for_a_model_is_refused_and_spends_nothing() -> None:
    strategy = Strategy(private(norm=1e39, budget=8.0))
    strategy.begin(vector(0.0), 0)
    strategy.add(contribution(vector(1.0)))

    with pytest.raises(InvalidUpdate, match="the aggregated model cannot be used"):
        strategy.finish()
    strategy.restore({}, 1)
    strategy.begin(vector(0.0), 0)
    assert strategy.ended() == ""
