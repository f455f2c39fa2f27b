"""docs/privacy.md: its numbers are those that the server computes, and its formulas have their tests elsewhere."""

from __future__ import annotations

import re

import pytest

from benchmarks.mnist import BAND, SLACK
from disco.core.aggregation.privacy_accounting import epsilon
from tests.docs.pages import DOCS, ROOT

DOC = (DOCS / "privacy.md").read_text("utf-8")
MEASURED = (ROOT / "benchmarks" / "results" / "mnist.md").read_text("utf-8")
MULTIPLIERS = (1.0, 2.0, 4.0, 8.0)


def table() -> list[tuple[int, list[str]]]:
    """Return the rows of the table of ε: rounds, and ε for each noise multiplier."""
    rows = re.findall(r"^\| (\d+) \|((?: [\d.]+ \|){4})$", DOC, re.MULTILINE)
    return [(int(rounds), cells.replace("|", " ").split()) for rounds, cells in rows]


def test_the_table_of_epsilon_has_all_its_rows() -> None:
    assert [rounds for rounds, _ in table()] == [1, 2, 5, 10, 50]


@pytest.mark.parametrize(("rounds", "cells"), table())
def test_epsilon_of_the_table_is_what_rounds_spend(rounds: int, cells: list[str]) -> None:
    assert cells == [f"{epsilon(multiplier, rounds, 1e-5):.2f}" for multiplier in MULTIPLIERS]


def test_a_noise_scale_that_is_named_promises_as_little_as_is_said() -> None:
    (told,) = re.findall(r"C = 20 and s = 1 are z = 0\.025, and ε is (\d+) for one contribution", DOC)

    assert int(told) == round(epsilon(1 / 40, 1, 1e-5))


def test_what_privacy_costs_is_what_the_benchmark_printed_last() -> None:
    _, printed = MEASURED.split("--privacy")
    rows = re.findall(r"^ *(\S+) +([\d.]+) +(\S+) +([\d.]+)  (?:by|after)", printed, re.MULTILINE)
    told = re.findall(r"^\| (\S+) \| ([\d.]+) \| (\S+) \| (0\.\d{4}) \|$", DOC, re.MULTILINE)

    assert len(rows) == 6
    assert told == [
        ("none", "0", "∞", accuracy) if budget == "inf" else (budget, noise, spent, accuracy)
        for budget, noise, spent, accuracy in rows
    ]


def test_rounds_to_97_percent_are_what_the_benchmark_printed_last_and_within_the_band() -> None:
    rounds = [int(found) for found in re.findall(r"seed \d: +(\d+) rounds", MEASURED)]
    (told,) = re.findall(r"after (\d+), (\d+) and (\d+) rounds", (DOCS / "strategies.md").read_text("utf-8"))

    assert [int(number) for number in told] == rounds
    assert max(rounds) <= max(BAND) * SLACK
