from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.core.rate import TokenBucket


def test_a_burst_is_allowed_and_no_more() -> None:
    bucket = TokenBucket(rate=1, burst=3)
    assert [bucket.allow(0.0) for _ in range(4)] == [True, True, True, False]


def test_tokens_come_back_with_time() -> None:
    bucket = TokenBucket(rate=2, burst=1)
    assert bucket.allow(0.0)
    assert not bucket.allow(0.4)
    assert bucket.allow(0.5)


def test_a_clock_that_steps_back_earns_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=1)
    assert bucket.allow(10.0)
    assert not bucket.allow(5.0)
    assert not bucket.allow(10.5)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_bucket_that_allows_nothing_is_refused(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="a bucket needs"):
        TokenBucket(rate, burst)


@given(
    rate=st.floats(0.1, 100),
    burst=st.floats(1, 50),
    gaps=st.lists(st.floats(0, 2), min_size=1, max_size=100),
)
def test_no_span_allows_more_than_the_burst_and_its_time(
    rate: float, burst: float, gaps: list[float]
) -> None:
    bucket = TokenBucket(rate, burst)
    now, allowed = 0.0, 0
    for gap in gaps:
        now += gap
        allowed += bucket.allow(now)
    assert allowed <= burst + rate * now + 1e-6


def test_who_takes_in_advance_waits_until_it_would_have_been_allowed() -> None:
    bucket = TokenBucket(rate=10, burst=2)
    assert [bucket.take(0.0) for _ in range(4)] == pytest.approx([0.0, 0.0, 0.1, 0.2])
    assert bucket.take(1.0) == 0.0


@given(rate=st.floats(0.1, 100), burst=st.floats(1, 50), count=st.integers(1, 100))
def test_who_waits_as_long_as_told_keeps_to_the_rate(rate: float, burst: float, count: int) -> None:
    bucket, now = TokenBucket(rate, burst), 0.0
    for _ in range(count):
        now += bucket.take(now)
    assert now >= (count - burst) / rate - 1e-6
