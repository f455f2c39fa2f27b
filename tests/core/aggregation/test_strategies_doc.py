"""docs/strategies.md: nothing is missing, no default has changed behind it, and its numbers are the measured ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from disco.core.aggregation.parameters import Parameter, Parameters
from disco.core.aggregation.recipe import BUFFER, CLIPPING, OPTIMIZERS, PRIVACY, RULES, WEIGHTING
from disco.core.masking.terms import MASKING

ROOT = Path(__file__).parents[3]
DOC = (ROOT / "docs" / "strategies.md").read_text("utf-8")
TABLES = {
    "weighting": WEIGHTING,
    "clipping": CLIPPING,
    "buffer": BUFFER,
    "privacy": PRIVACY,
    "masking": MASKING,
}


def row(name: str) -> str:
    found = re.search(rf"^\| `{name}` \|.*$", DOC, re.MULTILINE)
    return found[0] if found else pytest.fail(f"no row for {name}")


def told(name: str, parameter: Parameter) -> str:
    return f"`{name}`" if parameter.default is None else f"`{name}` ({written(parameter.default)})"


def written(value: float) -> str:
    return f"{value:g}".replace("e-0", "e-")


@pytest.mark.parametrize(("name", "parameters"), [*RULES.items(), *TABLES.items()])
def test_every_rule_and_stage_has_its_row_with_its_defaults(name: str, parameters: Parameters) -> None:
    assert [told(key, value) for key, value in parameters.items() if told(key, value) not in row(name)] == []


@pytest.mark.parametrize(("name", "parameters"), OPTIMIZERS.items())
def test_every_optimizer_is_told_with_its_defaults(name: str, parameters: Parameters) -> None:
    assert f"`{name}`" in row("optimizer")
    assert [
        told(key, value) for key, value in parameters.items() if told(key, value) not in row("optimizer")
    ] == []


def test_the_accuracies_are_those_of_the_benchmark_s_last_run() -> None:
    measured = (ROOT / "benchmarks" / "results" / "robustness.md").read_text("utf-8")
    tables = re.findall(r"\*\*digits, .*?\*\*\n\n(.*?)\n\n", measured, re.DOTALL)

    assert len(tables) == 2
    assert [table for table in tables if table not in DOC] == []


def test_the_plot_is_that_of_the_benchmark_s_last_run() -> None:
    drawn = (ROOT / "benchmarks" / "results" / "robustness.svg").read_bytes()

    assert (ROOT / "docs" / "images" / "robustness.svg").read_bytes() == drawn
