"""What is spent, whatever happens between rounds: every round that was kept counts once, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from disco.core.aggregation.privacy_accounting import cost, epsilon_of
from disco.core.aggregation.private_mean import PrivateMean
from disco.core.aggregation.strategy import Strategy
from tests.core.aggregation.updates import contribution, vector

DELTA, BUDGET = 1e-5, 4.0


class Spending(RuleBasedStateMachine):
    """A strategy as the runtime uses it, beside a store that keeps what rounds cost."""

    @initialize(multiplier=st.sampled_from([2.0, 4.0]))
    def start(self, multiplier: float) -> None:
        self.stored = 0.0
        self.open(multiplier)

    @rule(multiplier=st.sampled_from([2.0, 4.0]))
    def restart(self, multiplier: float) -> None:
        """Start again from the store, perhaps with another multiplier: a task can be changed."""
        self.open(multiplier)

    @rule(contributions=st.integers(0, 3))
    def contribute(self, contributions: int) -> None:
        for _ in range(contributions):
            self.strategy.add(contribution(vector(1.0)))
            self.contributed = True

    @rule(tries=st.integers(1, 3))
    def close(self, tries: int) -> None:
        """Close a round that is kept at the last try; the ones before found no room on the disk."""
        if self.strategy.ended():
            return
        for _ in range(tries):
            self.strategy.finish()
        expected = cost(self.multiplier) if self.contributed else 0.0
        assert self.strategy.cost() == expected
        if self.contributed:
            told = self.strategy.figures()["epsilon"]
            assert told == pytest.approx(epsilon_of(self.stored + expected, DELTA))
            assert told <= BUDGET
        self.stored += self.strategy.cost()
        self.begin()

    @rule()
    def fail(self) -> None:
        """Finish a round that cannot be kept yet."""
        self.strategy.finish()

    @rule()
    def roll_back(self) -> None:
        self.strategy.restore({}, 1)
        self.begin()

    @invariant()
    def ends_when_the_next_round_would_exceed_the_budget(self) -> None:
        spent = self.stored + self.strategy.cost()
        goes_on = epsilon_of(spent + cost(self.multiplier), DELTA) <= BUDGET
        assert (self.strategy.ended() == "") is goes_on

    def open(self, multiplier: float) -> None:
        self.multiplier = multiplier
        self.strategy = Strategy(PrivateMean(1.0, multiplier, DELTA, BUDGET))
        self.strategy.charge(self.stored)
        self.strategy.restore({}, 1)
        self.begin()

    def begin(self) -> None:
        self.strategy.begin(vector(0.0), 0)
        self.contributed = False


Spending.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestSpending = Spending.TestCase
