"""What is read off a run of the benchmarks: medians, ratios, goals, tables, the chart."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.chart import draw
from benchmarks.measuring import Report, Row
from benchmarks.plan import take_turns
from benchmarks.profile import shares
from benchmarks.tables import markdown, text, value

FASTER = Row("rounds", "2 × 10k", "ms", {"disco": [9.0, 2.0, 1.0], "node": [4.0]}, goals={"node": 1.0})
SLOWER = Row("updates", "up", "MB/s", {"disco": [100.0], "node": [200.0]}, goals={"node": 2.5})


def test_a_noisy_sample_does_not_move_the_median() -> None:
    assert FASTER.median("disco") == 2.0


def test_less_time_is_better() -> None:
    assert FASTER.ratio("node") == 2.0


def test_more_megabytes_a_second_are_better() -> None:
    assert SLOWER.ratio("node") == 0.5


def test_what_was_not_measured_has_no_ratio() -> None:
    assert math.isnan(FASTER.ratio("flower"))


def test_a_goal_that_is_reached_is_not_missed() -> None:
    assert FASTER.missed() == []


def test_a_missed_goal_is_told_with_what_was_reached() -> None:
    assert SLOWER.missed() == ["0.50 x Node, goal 2.5 x"]


@pytest.mark.parametrize(
    ("unit", "reached", "limit", "missed"),
    [("MB", 300.0, 440.0, False), ("MB", 500.0, 440.0, True), ("a second", 1_000.0, 1_500.0, True)],
)
def test_a_limit_is_an_upper_one_where_less_is_better(
    unit: str, reached: float, limit: float, missed: bool
) -> None:
    assert bool(Row("idle", "work", unit, {"disco": [reached]}, limit=limit).missed()) is missed


def test_a_peer_that_could_not_be_measured_misses_nothing() -> None:
    row = Row("rounds", "work", "ms", {"disco": [1.0]}, goals={"flower": 5.0}, notes={"flower": "no network"})
    assert row.missed() == []


def test_a_report_survives_its_json() -> None:
    report = Report({"cores": 2}, [FASTER, SLOWER])
    assert Report.from_document(report.document()).document() == report.document()


def test_servers_have_their_turns_one_after_the_other_each_time_in_another_order() -> None:
    names, order = ("disco", "node", "flower"), list[str]()
    found = take_turns({name: partial(order.append, name) for name in names}, 20)
    passes = [tuple(order[start : start + 3]) for start in range(0, 60, 3)]
    assert all(sorted(each) == sorted(names) for each in passes)
    assert {after for first, after, _ in passes if first == "flower"} == {"disco", "node"}
    assert list(found) == list(names)


def test_a_warm_turn_is_not_counted() -> None:
    numbers = iter([100, 1, 2])
    assert take_turns({"disco": lambda: next(numbers)}, 2, warm=True) == {"disco": [1, 2]}


@pytest.mark.parametrize(
    ("number", "unit", "written"),
    [
        (0.1423, "ms", "0.142 ms"),
        (12.34, "ms", "12.3 ms"),
        (1534.0, "ms", "1.53 s"),
        (2860.4, "MB/s", "2,860 MB/s"),
    ],
)
def test_numbers_have_about_three_digits(number: float, unit: str, written: str) -> None:
    assert value(number, unit) == written


def test_the_table_has_each_peer_with_its_ratio_and_the_verdict() -> None:
    line = next(line for line in text(Report({}, [FASTER, SLOWER])).splitlines() if line.startswith("up"))
    assert line.split("  ")[0] == "up"
    assert "200 MB/s (0.5×)" in line
    assert "0.50 x Node, goal 2.5 x" in line


def test_the_docs_table_tells_why_a_peer_is_missing() -> None:
    row = Row("rounds", "work", "ms", {"disco": [1.0]}, notes={"flower": "could not be installed"})
    written = markdown(Report({"cores": 2}, [row]))
    assert "| work | 1.00 ms | n/a |  |" in written
    assert "Flower, work: could not be installed." in written


def test_the_chart_is_svg_with_each_work_and_peer(tmp_path: Path) -> None:
    draw(Report({}, [FASTER, SLOWER]), tmp_path / "chart.svg")
    words = "".join(ElementTree.parse(tmp_path / "chart.svg").getroot().itertext())
    assert {name in words for name in ("rounds: 2 × 10k", "updates: up", "Node")} == {True}


def test_the_same_report_is_drawn_the_same(tmp_path: Path) -> None:
    for name in ("first.svg", "second.svg"):
        draw(Report({}, [FASTER]), tmp_path / name)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def test_a_profile_leaves_out_threads_that_wait() -> None:
    stacks = [
        "run (trio/_core/_run.py:1);EpollIOManager.get_events (trio/_core/_io_epoll.py:2) 90",
        "run (trio/_core/_run.py:1);serve (disco/a.py:5);fold (numpy.py:7) 10",
    ]
    alone, inclusive, total = shares(stacks)
    assert (alone["fold (numpy.py)"], inclusive["serve (disco/a.py)"], total) == (10, 10, 10)
