"""What rounds spend: against the published figures, and how costs add up."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest

from disco.core.aggregation.privacy_accounting import cost, epsilon, epsilon_of
from disco.errors import SettingsError


@pytest.mark.parametrize(
    ("multiplier", "rounds", "sampling", "expected"),
    [(1.0, 1, 1.0, 4.7285), (1.1, 1000, 0.01, 1.7118)],
)
def test_epsilon_is_that_of_the_table(
    multiplier: float, rounds: int, sampling: float, expected: float
) -> None:
    assert epsilon(multiplier, rounds, 1e-5, sampling) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("rounds", [1, 7, 100])
@pytest.mark.parametrize("multiplier", [0.5, 1.0, 20.0])
def test_costs_add_up_to_what_the_rounds_spend_together(multiplier: float, rounds: int) -> None:
    together = epsilon(multiplier, rounds, 1e-5)

    assert epsilon_of(rounds * cost(multiplier), 1e-5) == pytest.approx(together, rel=1e-9)


def test_rounds_of_different_noise_spend_what_the_accountant_composes() -> None:
    import dp_accounting as dp  # type: ignore[import-untyped]  # it has no types of its own

    accountant = dp.rdp.RdpAccountant()
    for multiplier in (1.0, 2.0, 8.0):
        accountant.compose(dp.GaussianDpEvent(multiplier))
    spent = math.fsum(map(cost, (1.0, 2.0, 8.0)))

    assert epsilon_of(spent, 1e-6) == pytest.approx(accountant.get_epsilon(1e-6), rel=1e-9)


def test_replacing_a_participant_s_changes_spends_as_half_the_noise_does() -> None:
    import dp_accounting as dp  # as above

    pair = dp.rdp.RdpAccountant(neighboring_relation=dp.NeighboringRelation.REPLACE_ONE)
    pair.compose(dp.GaussianDpEvent(4.0 / 2.0))

    assert epsilon(2.0, 1, 1e-5) == pytest.approx(pair.get_epsilon(1e-5), rel=1e-9)


def test_nothing_spent_is_nothing() -> None:
    assert epsilon_of(0.0, 1e-5) == 0.0


def test_without_the_accountant_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = builtins.__import__

    def refuse(name: str, *given: Any, **named: Any) -> ModuleType | Sequence[Any]:
        if name.startswith("dp_accounting"):
            raise ImportError(name)
        return known(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)

    with pytest.raises(SettingsError, match=r"pip install 'disco-server\[privacy\]'"):
        epsilon(1.0, 1, 1e-5)
