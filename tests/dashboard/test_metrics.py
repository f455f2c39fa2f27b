"""What is counted, measured and read, and how Prometheus gets it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.metrics import Metrics, Reading
from tests.dashboard.exposition import Sample, read


def samples(metrics: Metrics) -> dict[Sample, float]:
    return read(metrics.exposition())


def test_a_counter_is_the_sum_of_what_was_counted_under_its_labels() -> None:
    metrics = Metrics()
    metrics.count("contributions", task="a", outcome="accepted")
    metrics.count("contributions", 2, outcome="accepted", task="a")
    metrics.count("contributions", task="b", outcome="accepted")
    assert metrics.value("contributions", task="a", outcome="accepted") == 3
    assert samples(metrics)["disco_contributions_total", (("outcome", "accepted"), ("task", "a"))] == 3


def test_what_was_never_counted_is_zero() -> None:
    assert Metrics().value("rounds", task="a") == 0


@given(st.text(max_size=30))
def test_any_label_reaches_prometheus_unchanged(label: str) -> None:
    metrics = Metrics()
    label = "".join(part for part in label if part.isprintable() or part == "\n")
    metrics.count("rounds", task=label)
    assert samples(metrics) == {("disco_rounds_total", (("task", label),)): 1}


@given(st.lists(st.floats(0, 4000), min_size=1, max_size=50))
def test_a_histograms_buckets_count_what_is_at_most_their_bound(values: list[float]) -> None:
    metrics = Metrics()
    for value in values:
        metrics.observe("round_seconds", value, task="a")
    read = samples(metrics)
    for (name, labels), counted in read.items():
        if name == "disco_round_seconds_bucket":
            assert counted == sum(value <= float(dict(labels)["le"]) for value in values)
    assert read["disco_round_seconds_count", (("task", "a"),)] == len(values)
    assert read["disco_round_seconds_sum", (("task", "a"),)] == pytest.approx(sum(values))


def test_a_block_is_timed_even_if_it_raises() -> None:
    metrics = Metrics()
    with pytest.raises(ZeroDivisionError), metrics.timed("store_seconds", operation="model"):
        raise ZeroDivisionError
    assert samples(metrics)["disco_store_seconds_count", (("operation", "model"),)] == 1


def test_gauges_are_read_when_somebody_looks() -> None:
    metrics, present = Metrics(), [1]
    metrics.watch(lambda: [Reading("participants", present[0], {"task": "a"})])
    assert samples(metrics)["disco_participants", (("task", "a"),)] == 1
    present[0] = 7
    assert samples(metrics)["disco_participants", (("task", "a"),)] == 7
