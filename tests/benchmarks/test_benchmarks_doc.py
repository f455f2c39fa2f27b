"""The page about the benchmarks shows the last run, and every group and option there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import CELLS, RESULTS, read
from benchmarks.tables import BEGIN, END, markdown, replaced

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")


def test_the_table_is_that_of_the_last_run() -> None:
    assert replaced(PAGE, markdown(read(RESULTS / "results.json"))) == PAGE


def test_the_chart_is_that_of_the_last_run() -> None:
    drawn = (RESULTS / "results.svg").read_bytes()
    assert (ROOT / "docs" / "images" / "benchmarks.svg").read_bytes() == drawn


@pytest.mark.parametrize("group", CELLS)
def test_every_group_is_explained(group: str) -> None:
    assert f"| `{group}` |" in PAGE


def test_a_new_table_takes_the_place_of_the_old_one() -> None:
    page = f"before {BEGIN} old {END} after"
    assert replaced(page, "new") == f"before {BEGIN}\n\nnew\n\n{END} after"


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no <!-- begin"):
        replaced("a page", "new")
