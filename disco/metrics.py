"""Counts and durations of what happened, handed to whoever counts; never global.

What is counted where it happens is a counter or a histogram. What can be read at any moment (who is present, what
waits) is a gauge, asked for when somebody looks. Names here are bare; `exposition` writes them as Prometheus has them.

Source: Prometheus, text-based format, version 0.0.4.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, NamedTuple, TypeAlias

Labels: TypeAlias = tuple[tuple[str, str], ...]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

#: What is counted and measured, as its reader is told. `exposition` refuses nothing, but a name without a line here
#: comes out without help.
HELP: Final[Mapping[str, str]] = {
    "connections": "WebSocket connections now.",
    "contributions": "Contributions by what became of them.",
    "evaluation_seconds": "Evaluations of models, in their scorers' processes.",
    "evaluations": "Evaluations of models by what became of them.",
    "figure": "The newest figures of evaluation and participants, by name.",
    "in_flight_bytes": "Bytes of large messages that are being received or wait to be summed.",
    "in_flight_limit_bytes": "What in_flight_bytes never exceeds by more than one message.",
    "in_flight_waiting": "Connections that are not read until there is room.",
    "outbox_messages": "Messages that wait for slow readers.",
    "participants": "Participants present now.",
    "received_bytes": "Bytes of messages received.",
    "round": "The current round of federated training, from 0.",
    "masked_rounds_abandoned": "Attempts at a masked round that ended without a sum.",
    "round_contributions": "Contributions summed in closed rounds.",
    "round_seconds": "From a round's first contribution to its closing.",
    "rounds": "Rounds closed.",
    "sent_bytes": "Bytes of messages queued for sending.",
    "store_seconds": "Calls of the store, in its thread.",
    "task_ended": "1 when the task's federated training has ended.",
    "task_paused": "1 while an admin has paused the task.",
    "task_running": "1 while the task's coordinators run.",
}

#: Upper bounds of the buckets, in seconds.
SHORT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LONG: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
BOUNDS: Final[Mapping[str, Sequence[float]]] = {"round_seconds": LONG}


class Reading(NamedTuple):
    """A gauge's value at the moment it was asked for."""

    name: str
    value: float
    labels: Mapping[str, str]


@dataclass(slots=True)
class Histogram:
    """How often a value was at most each bound, how often it was measured, and the sum."""

    bounds: Sequence[float]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Take one measurement."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """Yield each bound, +Inf last, with how many values were at most that."""
        seen = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            yield number(bound), seen


@dataclass(slots=True)
class Counter:
    """What has been counted under one name and set of labels."""

    value: float = 0

    def add(self, amount: float = 1) -> None:
        """Count so many more."""
        self.value += amount


class Metrics:
    """Counters and histograms by name and labels, and whom to ask for gauges. Cheap enough for every message.

    Counting and observing are safe from worker threads for names that only one thread counts.
    """

    def __init__(self) -> None:
        self._counters: dict[str, dict[Labels, Counter]] = {}
        self._histograms: dict[str, dict[Labels, Histogram]] = {}
        self._watched: list[Callable[[], Iterable[Reading]]] = []

    def counter(self, name: str, **labels: str) -> Counter:
        """Return a counter, for those who count often; the same whenever it is asked for."""
        series = self._counters.setdefault(name, {})
        return series.setdefault(tuple(sorted(labels.items())), Counter())

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add `amount` to a counter."""
        self.counter(name, **labels).add(amount)

    def value(self, name: str, **labels: str) -> float:
        """Return a counter's value; 0 if it was never counted."""
        counter = self._counters.get(name, {}).get(tuple(sorted(labels.items())))
        return 0 if counter is None else counter.value

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add one measurement to a histogram."""
        series = self._histograms.setdefault(name, {})
        key = tuple(sorted(labels.items()))
        if key not in series:
            series[key] = Histogram(BOUNDS.get(name, SHORT))
        series[key].observe(value)

    @contextmanager
    def timed(self, name: str, **labels: str) -> Iterator[None]:
        """Observe how many seconds the block takes, whether it raises or not."""
        began = perf_counter()
        try:
            yield
        finally:
            self.observe(name, perf_counter() - began, **labels)

    def watch(self, read: Callable[[], Iterable[Reading]]) -> None:
        """Ask `read` for gauges whenever somebody looks."""
        self._watched.append(read)

    def exposition(self) -> str:
        """Write everything in Prometheus's text format."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        for name, counters in sorted(self._counters.items()):
            yield from _head(name, f"disco_{name}_total", "counter")
            for labels, counter in sorted(counters.items(), key=lambda item: item[0]):
                yield f"disco_{name}_total{_labelled(labels)} {number(counter.value)}"
        for name, measured in sorted(self._histograms.items()):
            yield from _head(name, f"disco_{name}", "histogram")
            for labels, histogram in sorted(measured.items()):
                yield from _buckets(f"disco_{name}", labels, histogram)
        readings: dict[str, dict[Labels, float]] = {}
        for read in self._watched:
            for reading in read():
                readings.setdefault(reading.name, {})[tuple(sorted(reading.labels.items()))] = reading.value
        for name, series in sorted(readings.items()):
            yield from _head(name, f"disco_{name}", "gauge")
            for labels, value in sorted(series.items()):
                yield f"disco_{name}{_labelled(labels)} {number(value)}"


def number(value: float) -> str:
    """Write a number as Prometheus reads it: whole ones without a point, infinity as +Inf."""
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(value)


def _head(name: str, written: str, kind: str) -> Iterator[str]:
    if name in HELP:
        yield f"# HELP {written} {HELP[name]}"
    yield f"# TYPE {written} {kind}"


def _buckets(written: str, labels: Labels, histogram: Histogram) -> Iterator[str]:
    seen = 0
    for bound, seen in histogram.cumulative():
        yield f"{written}_bucket{_labelled((*labels, ('le', bound)))} {seen}"
    yield f"{written}_sum{_labelled(labels)} {number(histogram.total)}"
    yield f"{written}_count{_labelled(labels)} {seen}"


def _labelled(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
