"""Additive shares: what they sum to, and what they are drawn from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.core.aggregation.mean import Mean
from disco.core.weights import Weights

pytest.importorskip("cryptography")

from disco.participant.secure import SecureAggregation, partial_sum, random_share, split

STRUCTURE = ((200, 50), (7,), ())


def model(seed: int) -> Weights:
    source = np.random.default_rng(seed)
    return Weights.from_arrays([source.normal(size=shape) for shape in STRUCTURE])


@given(peers=st.integers(3, 6), seed=st.integers(0, 1000))
def test_the_mean_of_partial_sums_is_the_mean_of_the_weights(peers: int, seed: int) -> None:
    models = [model(seed + who) for who in range(peers)]
    kept, given_away = zip(*(split(weights, peers - 1, 100.0) for weights in models), strict=True)
    held = []
    for who in range(peers):
        received = [
            shares[who if who < giver else who - 1] for giver, shares in enumerate(given_away) if giver != who
        ]
        held.append(partial_sum(kept[who], received))
    mean = Mean()
    mean.begin(held[0])
    for partial in held:
        mean.add(partial, 1.0)
    wanted = np.mean([weights.flat for weights in models], axis=0, dtype=np.float64)
    np.testing.assert_allclose(mean.finish().flat, wanted, rtol=0, atol=100.0 * peers * 6e-8)


def test_shares_have_the_structure_of_the_weights() -> None:
    _, shares = split(model(0), 2, 1.0)
    assert [share.shapes for share in shares] == [STRUCTURE, STRUCTURE]


def test_shares_are_uniform_between_the_bounds() -> None:
    values = random_share(STRUCTURE, 8.0).flat
    assert (np.abs(values) <= 8.0).all()
    counts, _ = np.histogram(values, bins=16, range=(-8.0, 8.0))
    # A bin has 625 ± 24 of 10,008 values; six deviations are a chance of one in 10⁸.
    assert np.abs(counts - values.size / 16).max() < 6 * 25


def test_shares_are_never_drawn_twice() -> None:
    assert not np.array_equal(random_share(STRUCTURE, 1.0).flat, random_share(STRUCTURE, 1.0).flat)


def test_what_is_kept_does_not_follow_the_weights() -> None:
    weights = model(1)
    kept, _ = split(weights, 2, 100.0)
    correlation = np.corrcoef(kept, weights.flat)[0, 1]
    assert abs(correlation) < 0.07


@pytest.mark.parametrize("max_share", [0.0, -1.0, float("inf"), float("nan")])
def test_a_bound_that_hides_nothing_is_refused(max_share: float) -> None:
    with pytest.raises(ValueError, match="max_share"):
        SecureAggregation(max_share)


def test_a_round_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="smallest_round"):
        SecureAggregation(smallest_round=0)
