"""The server's view of one masked contribution cannot be told from uniform random numbers, whatever is in it.

The secrets are drawn from a seed, so that the statistics are the same each time. A threshold of 1e-3 for each test is
one that a true uniform sample would miss once in a thousand seeds; the plain integers miss it by far.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats

from disco.core.masking.keys import mask_seed, public_key, seal_of, transcript
from disco.core.masking.keystream import Mask, apply_masks
from disco.core.masking.member import Footing, Member
from disco.core.masking.quantization import Grid
from disco.core.masking.words import Keys, Roster, SharesRelayed, Words32
from disco.core.weights import Weights
from tests.masking.room import TASK, TERMS, names, seeded

SIZE = 100_000
WHO = names(5)
LEAST = 1e-3

CHANGES = {
    "zeros": np.zeros(SIZE),
    "constant": np.full(SIZE, 0.25),
    "small": np.random.default_rng(1).normal(0, 1e-3, SIZE),
    "large": np.random.default_rng(2).normal(0, 2, SIZE),
    "sorted": np.linspace(-4, 4, SIZE),
}


@cache
def masked(name: str, seed: int = 0) -> Words32:
    """What the server gets of the second of five members, whose change is one of `CHANGES`."""
    footing = Footing(TASK, TERMS, 3)
    members = {name: Member(name, 0, footing, seeded((name, seed))) for name in WHO}
    roster = Roster(0, 1, {name: member.keys for name, member in members.items()})
    sent = {name: member.share(roster).shares for name, member in members.items()}
    me, base = WHO[1], Weights.zeros([(SIZE,)])
    relayed = SharesRelayed(1, {name: shares[me] for name, shares in sent.items() if name != me})
    return members[me].mask(relayed, Weights.from_arrays([CHANGES[name]]), base).masked


def masks_of_second() -> list[Mask]:
    """The masks of `masked`: the self-mask, then those with each other member, from the secrets' seeds."""
    sources = {name: seeded((name, 0)) for name in WHO}
    drawn = {name: [entropy(32) for _ in range(3)] for name, entropy in sources.items()}
    keys = {
        name: Keys(public_key(mask), public_key(share), seal_of(seed))
        for name, (mask, share, seed) in drawn.items()
    }
    me, attempt = WHO[1], transcript(TASK, 0, 1, keys)
    pairs = [
        Mask(mask_seed(drawn[me][0], keys[name].mask_key, attempt), added=WHO.index(name) > 1)
        for name in WHO
        if name != me
    ]
    return [Mask(drawn[me][2], added=True), *pairs]


def p_value_of_bytes(words: Words32, place: int) -> float:
    """Chi-squared over the 256 values of one byte of each integer."""
    octets = words.view(np.uint8).reshape(-1, 4)[:, place]
    return float(stats.chisquare(np.bincount(octets, minlength=256)).pvalue)


def p_value_of_numbers(words: Words32) -> float:
    """Kolmogorov and Smirnov's distance from the uniform distribution on [0, 1)."""
    return float(stats.kstest(words / 2**32, "uniform").pvalue)


@pytest.mark.parametrize("name", CHANGES)
def test_every_byte_is_uniform(name: str) -> None:
    assert min(p_value_of_bytes(masked(name), place) for place in range(4)) > LEAST


@pytest.mark.parametrize("name", CHANGES)
def test_the_numbers_are_uniform(name: str) -> None:
    assert p_value_of_numbers(masked(name)) > LEAST


@pytest.mark.parametrize("name", ["small", "large", "sorted"])
def test_they_do_not_go_with_what_they_hide(name: str) -> None:
    numbers = masked(name).view(np.int32)
    assert stats.pearsonr(numbers, CHANGES[name]).pvalue > LEAST


@pytest.mark.parametrize("lag", [1, 16, 1000])
def test_neighbours_do_not_go_with_each_other(lag: int) -> None:
    numbers = masked("zeros").view(np.int32)
    assert stats.pearsonr(numbers[:-lag], numbers[lag:]).pvalue > LEAST


def test_two_contributions_that_are_the_same_do_not_go_with_each_other() -> None:
    one, other = (masked("small", seed).view(np.int32) for seed in (1, 2))
    assert stats.pearsonr(one, other).pvalue > LEAST


@pytest.mark.parametrize("opened", ["self-mask", "pairwise masks"])
def test_a_contribution_is_hidden_as_long_as_one_kind_of_mask_is(opened: str) -> None:
    numbers = masked("zeros").copy()
    for mask in masks_of_second()[:1] if opened == "self-mask" else masks_of_second()[1:]:
        apply_masks(numbers, [mask._replace(added=not mask.added)])
    assert min(p_value_of_numbers(numbers), *(p_value_of_bytes(numbers, byte) for byte in range(4))) > LEAST


def test_without_both_kinds_nothing_hides_it() -> None:
    numbers = masked("zeros").copy()
    apply_masks(numbers, [mask._replace(added=not mask.added) for mask in masks_of_second()])
    assert not numbers.any()


@pytest.mark.parametrize("name", CHANGES)
def test_the_statistics_would_tell_what_is_not_masked(name: str) -> None:
    plain = np.empty(SIZE, dtype=np.uint32)
    Grid(TERMS.range, len(WHO)).quantize(CHANGES[name].copy(), plain)
    least = min(p_value_of_numbers(plain), *(p_value_of_bytes(plain, place) for place in range(4)))
    assert least < 1e-12
