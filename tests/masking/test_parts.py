"""What masked rounds are made of: shares, masks, integers, keys."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from disco.core.masking import keys
from disco.core.masking.keystream import BATCH, Mask, apply_masks
from disco.core.masking.quantization import MAX_MEMBERS, Grid, Walk
from disco.core.masking.shamir import PRIME, SHARE_BYTES, coefficients, join, split
from disco.core.masking.terms import Terms
from disco.core.masking.words import Keys
from disco.core.names import ParticipantID, TaskID
from disco.core.weights import BLOCK, Weights
from disco.errors import ProtocolViolation
from tests.masking.room import seeded

ME, YOU = ParticipantID("me"), ParticipantID("you")
SECRET = bytes(range(32))

# ── Shares ───────────────────────────────────────────────────────────────────────────────────────────────


@given(st.binary(min_size=32, max_size=32), st.integers(1, 8), st.data())
def test_any_threshold_of_the_shares_gives_the_secret_back(
    secret: bytes, threshold: int, data: st.DataObject
) -> None:
    holders = data.draw(st.integers(threshold, 12))
    shares = dict(enumerate(split(secret, threshold, holders, seeded(holders)), 1))
    chosen = data.draw(st.permutations(sorted(shares)))[:threshold]
    assert join({place: shares[place] for place in chosen}, 32) == secret


def test_every_choice_of_shares_agrees() -> None:
    shares = dict(enumerate(split(SECRET, 3, 6, seeded(1)), 1))
    for chosen in itertools.combinations(shares.items(), 3):
        assert join(dict(chosen), 32) == SECRET


def test_fewer_shares_fit_any_secret() -> None:
    # Two shares of three: for whatever secret there is a polynomial through both, so they tell nothing.
    first, second, _ = (int.from_bytes(share, "big") for share in split(SECRET, 3, 3, seeded(2)))
    for secret in (0, 1, PRIME - 1):
        factors = coefficients((1, 2, 3))
        third = (secret - factors[0] * first - factors[1] * second) * pow(factors[2], -1, PRIME) % PRIME
        shares = {
            place: value.to_bytes(SHARE_BYTES, "big") for place, value in enumerate((first, second, third), 1)
        }
        assert int.from_bytes(join(shares, SHARE_BYTES), "big") == secret


def test_a_wrong_share_gives_no_secret_of_32_bytes() -> None:
    shares = dict(enumerate(split(SECRET, 3, 3, seeded(3)), 1))
    shares[2] = bytes(65) + b"\x01"
    with pytest.raises(ValueError, match="of no secret of 32 bytes"):
        join(shares, 32)


@pytest.mark.parametrize(("secret", "threshold", "holders"), [(bytes(65), 1, 1), (b"", 0, 1), (b"", 3, 2)])
def test_what_cannot_be_shared_is_refused(secret: bytes, threshold: int, holders: int) -> None:
    with pytest.raises(ValueError, match="cannot be shared"):
        split(secret, threshold, holders, seeded(4))


@pytest.mark.parametrize("base", [3, 5, 7, 11, 13])
def test_the_field_is_of_a_prime(base: int) -> None:
    # Fermat's test; the exponent 521 is a Mersenne prime's (Robinson 1952).
    assert pow(base, PRIME - 1, PRIME) == 1


# ── Masks ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 5])
def test_masks_that_are_added_and_subtracted_cancel(size: int) -> None:
    total = np.arange(size, dtype=np.uint32)
    masks = [Mask(bytes([number]) * 32, added=True) for number in range(5)]
    apply_masks(total, masks)
    assert size < 2 or not np.array_equal(total, np.arange(size))
    apply_masks(total, [mask._replace(added=False) for mask in reversed(masks)])
    np.testing.assert_array_equal(total, np.arange(size))


def test_more_masks_than_are_expanded_at_once_are_all_applied() -> None:
    seed = bytes(32)
    once, often = np.zeros(3, dtype=np.uint32), np.zeros(3, dtype=np.uint32)
    apply_masks(once, [Mask(seed, added=True)])
    apply_masks(often, [Mask(seed, added=True)] * (BATCH + 2))
    np.testing.assert_array_equal(often, once * np.uint32(BATCH + 2))


def test_a_mask_is_the_keystream_of_chacha20() -> None:
    # RFC 8439, appendix A.1, test vector 1: key, nonce and counter of zeros.
    mask = np.zeros(4, dtype=np.uint32)
    apply_masks(mask, [Mask(bytes(32), added=True)])
    assert mask.astype("<u4").tobytes().hex() == "76b8e0ada0f13d90405d6ae55386bd28"


# ── Integers ─────────────────────────────────────────────────────────────────────────────────────────────

CHANGES = arrays.arrays(np.float64, st.integers(1, 50), elements=st.floats(-4, 4))


@given(CHANGES, st.integers(1, MAX_MEMBERS))
def test_a_contribution_is_off_by_at_most_half_a_step(changes: np.ndarray, members: int) -> None:
    grid, integers = Grid(4.0, members), np.empty(changes.size, dtype=np.uint32)
    assert grid.quantize(changes.copy(), integers) == 0
    rounding = np.spacing(grid.range)  # of float64, in division and multiplication
    assert np.abs(grid.mean(integers, 1) - changes).max() <= grid.step / 2 + rounding


@given(st.integers(1, MAX_MEMBERS), st.floats(1e-6, 1e6))
def test_no_sum_overflows(members: int, range_: float) -> None:
    grid = Grid(range_, members)
    assert members * grid.levels < 2**31


@pytest.mark.parametrize("members", [1, 2, 3, 32, MAX_MEMBERS])
def test_members_who_all_send_the_largest_change_get_it_back(members: int) -> None:
    grid, integers = Grid(4.0, members), np.empty(2, dtype=np.uint32)
    grid.quantize(np.array([4.0, -4.0]), integers)
    total = integers * np.uint32(members)
    np.testing.assert_allclose(grid.mean(total, members), [4.0, -4.0], rtol=1e-12)


def test_larger_changes_are_clipped_and_counted() -> None:
    grid, integers = Grid(4.0, 10), np.empty(3, dtype=np.uint32)
    assert grid.quantize(np.array([4.5, -1e30, 4.0]), integers) == 2
    np.testing.assert_allclose(grid.mean(integers, 1), [4.0, -4.0, 4.0])


def test_the_documented_error_is_that_of_32_members_with_the_default_range() -> None:
    assert f"{Grid(4.0, 32).step / 2:.0e}" == "3e-08"


@given(st.lists(st.integers(0, 9), max_size=5), st.integers(1, 7))
def test_a_model_is_read_in_order_across_its_tensors(sizes: list[int], block: int) -> None:
    weights = Weights.from_arrays([np.arange(size) + 10 * place for place, size in enumerate(sizes)])
    walk = Walk(weights)
    read: list[float] = []
    for start in range(0, sum(sizes), block):
        into = np.empty(min(block, sum(sizes) - start))
        walk.read(into)
        read.extend(into)
    np.testing.assert_array_equal(read, weights.flat)


# ── The threshold ────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(2, MAX_MEMBERS), st.floats(0, 0.5, exclude_max=True))
def test_it_takes_more_than_half_of_the_members_to_open_a_secret(members: int, dropouts: float) -> None:
    threshold = Terms(4.0, dropouts, 60.0).threshold(members)
    assert members / 2 < threshold <= members


@pytest.mark.parametrize(
    ("members", "threshold"), [(3, 2), (4, 3), (6, 4), (9, 6), (10, 7), (30, 20), (32, 22)]
)
def test_by_default_a_third_may_drop_out(members: int, threshold: int) -> None:
    assert Terms(4.0, 1 / 3, 60.0).threshold(members) == threshold


def test_a_tenth_of_ten_is_one() -> None:
    assert [Terms(4.0, part / 10, 60.0).threshold(10) for part in range(5)] == [10, 9, 8, 7, 6]


# ── Keys ─────────────────────────────────────────────────────────────────────────────────────────────────

MINE, YOURS = bytes([1]) * 32, bytes([2]) * 32
TRANSCRIPT = bytes(32)


def test_both_sides_have_the_same_mask() -> None:
    mine = keys.mask_seed(MINE, keys.public_key(YOURS), TRANSCRIPT)
    assert mine == keys.mask_seed(YOURS, keys.public_key(MINE), TRANSCRIPT)
    assert mine != keys.mask_seed(MINE, keys.public_key(YOURS), bytes([1]) * 32)


def sealed(group_secret: bytes = b"", transcript: bytes = TRANSCRIPT) -> bytes:
    return keys.Sealing(MINE, transcript, group_secret).seal(b"share", keys.public_key(YOURS), ME, YOU)


def opened(
    box: bytes, sender: ParticipantID = ME, receiver: ParticipantID = YOU, group_secret: bytes = b""
) -> bytes:
    return keys.Sealing(YOURS, TRANSCRIPT, group_secret).open(box, keys.public_key(MINE), sender, receiver)


@pytest.mark.parametrize("group_secret", [b"", b"we"])
def test_what_is_sealed_can_be_opened_by_its_receiver(group_secret: bytes) -> None:
    assert opened(sealed(group_secret), group_secret=group_secret) == b"share"


@pytest.mark.parametrize(
    "open_wrongly",
    [
        lambda: opened(sealed(), sender=YOU, receiver=ME),
        lambda: opened(sealed(b"we")),
        lambda: opened(sealed(), group_secret=b"we"),
        lambda: opened(sealed(transcript=bytes([1]) * 32)),
        lambda: opened(bytes(21)),
        lambda: opened(b""),
    ],
    ids=["other direction", "group secret missing", "other group", "other attempt", "changed", "empty"],
)
def test_nothing_else_can_be_opened(open_wrongly: object) -> None:
    with pytest.raises(ProtocolViolation, match="the shares from"):
        open_wrongly()  # type: ignore[operator]


def test_a_key_that_would_make_every_mask_the_same_is_refused() -> None:
    with pytest.raises(ProtocolViolation, match="cannot be used"):
        keys.mask_seed(MINE, bytes(32), TRANSCRIPT)


def test_attempts_with_other_keys_members_or_numbers_have_other_transcripts() -> None:
    mine, yours = Keys(b"a" * 32, b"b" * 32, b"c" * 32), Keys(b"d" * 32, b"e" * 32, b"f" * 32)
    one = (TaskID("tides"), 3, 4, {ME: mine, YOU: yours})
    others = [
        (TaskID("tide"), 3, 4, {ME: mine, YOU: yours}),
        (TaskID("tides"), 4, 4, {ME: mine, YOU: yours}),
        (TaskID("tides"), 3, 5, {ME: mine, YOU: yours}),
        (TaskID("tides"), 3, 4, {YOU: yours, ME: mine}),
        (TaskID("tides"), 3, 4, {ME: yours, YOU: mine}),
        (TaskID("tides"), 3, 4, {ME: mine}),
    ]
    assert len({keys.transcript(*each) for each in (one, *others)}) == 7
