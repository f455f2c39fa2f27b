"""The stages of a strategy together."""

from __future__ import annotations

import numpy as np
import pytest

from disco.core.aggregation import Aggregator
from disco.core.aggregation.centered_clipping import CenteredClipping
from disco.core.aggregation.fedopt import AvgM, ServerOptimizer
from disco.core.aggregation.held import InMemory
from disco.core.aggregation.mean import Mean
from disco.core.aggregation.median import Median
from disco.core.aggregation.norm_clipping import NormClipping
from disco.core.aggregation.private_mean import PrivateMean
from disco.core.aggregation.staleness import Staleness
from disco.core.aggregation.strategy import Strategy
from disco.core.aggregation.weighing import BySamples
from disco.errors import InvalidUpdate
from tests.core.aggregation.updates import contribution, vector


def weighed(*given: tuple[float, float | None], cap: int = 1000, unstated: int = 1) -> float:
    """Return the mean of values with sample counts."""
    strategy = Strategy(Mean(BySamples.headroom), weighing=BySamples(cap, unstated))
    strategy.begin(vector(0.0), 0)
    for index, (value, samples) in enumerate(given):
        strategy.add(contribution(vector(value), str(index), samples=samples))
    return float(strategy.finish().flat[0])


def test_contributions_count_by_their_samples() -> None:
    assert weighed((1.0, 30), (5.0, 10)) == 2.0


def test_nobody_can_claim_the_world() -> None:
    assert weighed((0.0, 100), (1.0, 1e12), cap=300) == 0.75


def test_who_states_no_samples_counts_one_unless_the_task_says_otherwise() -> None:
    assert weighed((0.0, 3), (1.0, None)) == 0.25
    assert weighed((0.0, 3), (1.0, None), unstated=9) == 0.75


def test_samples_are_counted_in_whole_numbers_from_one() -> None:
    assert weighed((0.0, 0.2), (1.0, 2.6)) == 0.75


def test_what_was_trained_on_nothing_is_refused() -> None:
    strategy = Strategy(Mean(), weighing=BySamples())
    strategy.begin(vector(0.0), 0)

    with pytest.raises(InvalidUpdate, match="samples is 0"):
        strategy.add(contribution(vector(1.0), samples=0))


def test_samples_do_not_count_where_the_task_does_not_ask() -> None:
    strategy = Strategy(Mean())
    strategy.begin(vector(0.0), 0)
    strategy.add(contribution(vector(0.0), "a", samples=1000))
    strategy.add(contribution(vector(1.0), "b", samples=0))

    assert strategy.finish().flat.tolist() == [0.5]


def test_a_late_change_is_scaled_before_it_is_clipped_and_stepped_with() -> None:
    strategy = Strategy(
        Mean(), changes=[Staleness(3), NormClipping(1.0)], steps=[ServerOptimizer(AvgM(10.0, 0.0))]
    )
    strategy.begin(vector(0.0), 0)
    strategy.begin(vector(100.0), 3)
    strategy.add(contribution(vector(1.0), "late", round_=0))  # + 1 / √4
    strategy.add(contribution(vector(105.0), "far", round_=3))  # + 5, clipped to 1

    assert strategy.finish().flat.tolist() == [100.0 + 10.0 * 0.75]
    assert strategy.figures() == {"staleness_mean": 1.5, "staleness_max": 3.0, "clipped": 1.0}


def test_a_model_that_is_not_finite_is_refused_and_the_contributions_stay() -> None:
    strategy = Strategy(Mean(), steps=[ServerOptimizer(AvgM(1e30, 0.0))])
    strategy.begin(vector(0.0), 0)
    strategy.add(contribution(vector(1e30)))

    for _ in range(2):
        with pytest.raises(InvalidUpdate, match="aggregated model cannot be used"):
            strategy.finish()


def test_the_state_of_every_stage_is_kept_and_restored() -> None:
    def make() -> Strategy:
        return Strategy(CenteredClipping(0.5), steps=[ServerOptimizer(AvgM())])

    strategy, restarted = make(), make()
    strategy.begin(vector(0.0), 0)
    strategy.add(contribution(vector(1.0)))
    after = strategy.finish()
    kept = {name: value.copy() for name, value in strategy.state().items()}
    assert sorted(kept) == ["clipping-center", "fedavgm-m"]
    assert restarted.restore(kept, 1)
    restarted.begin(after, 1)
    restarted.add(contribution(vector(1.0), round_=1))

    # v: 0.5, then the momentum 0.5 is within its radius; m: 0.5, then 0.45 + 0.5
    assert restarted.finish().flat[0] == pytest.approx(0.5 + 0.95)


def test_a_part_of_a_state_is_told() -> None:
    strategy = Strategy(CenteredClipping(), steps=[ServerOptimizer(AvgM())])

    assert not strategy.restore({"fedavgm-m": np.zeros(1, dtype=np.float32)}, 1)


def test_a_strategy_that_remembers_nothing_misses_nothing() -> None:
    strategy = Strategy(Mean())

    assert strategy.state() == {}
    assert strategy.restore({}, 1)


def test_what_a_rule_tells_stands_with_what_the_stages_before_it_tell() -> None:
    strategy = Strategy(PrivateMean(1.0, 2.0, 1e-5, 8.0), changes=[NormClipping(10.0)])
    strategy.begin(vector(0.0), 0)
    strategy.add(contribution(vector(1.0)))
    strategy.finish()

    assert strategy.figures().keys() == {"clipped", "epsilon", "noise"}


def test_a_rule_that_spends_nothing_costs_nothing_whatever_was_spent() -> None:
    strategy = Strategy(Mean())
    strategy.charge(100.0)
    strategy.begin(vector(0.0), 0)
    strategy.add(contribution(vector(1.0)))
    strategy.finish()

    assert (strategy.cost(), strategy.ended()) == (0.0, "")


def test_what_was_spent_before_ends_a_strategy_at_its_budget() -> None:
    strategy = Strategy(PrivateMean(1.0, 2.0, 1e-5, 8.0))
    strategy.charge(9 * 0.25)
    strategy.restore({}, 1)
    strategy.begin(vector(0.0), 0)

    assert strategy.ended().startswith("its privacy budget is spent")


def test_a_server_optimizer_sees_the_mean_with_its_noise() -> None:
    plain, moved = (
        Strategy(PrivateMean(1.0, 2.0, 1e-5, 8.0, keys=lambda: 3), steps=steps)
        for steps in ([], [ServerOptimizer(AvgM(0.5, 0.0))])
    )
    for strategy in (plain, moved):
        strategy.begin(vector(0.0), 0)
        strategy.add(contribution(vector(1.0)))

    assert moved.finish().flat[0] == pytest.approx(0.5 * plain.finish().flat[0])


@pytest.mark.parametrize(("rule", "walked"), [(Mean(), 1), (Median(InMemory()), 7)], ids=["mean", "median"])
def test_only_a_rule_that_holds_contributions_walks_over_all_of_them(rule: Aggregator, walked: int) -> None:
    assert Strategy(rule).walked(7) == walked
