"""Extras: what is named where a package is missing is there, is documented, and brings that package."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]
NAMED = re.compile(r"disco-server\[([a-z,]+)\]")
TEXTS = [
    *sorted((ROOT / "disco").rglob("*.py")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
    ROOT / "disco" / "web" / "dashboard" / "recipes.js",
]
#: Modules that only an extra brings, with the distribution that holds them.
OPTIONAL = {
    "PIL": "pillow",
    "aiortc": "aiortc",
    "cryptography": "cryptography",
    "dp_accounting": "dp-accounting",
    "jwt": "pyjwt",
    "matplotlib": "matplotlib",
    "opentelemetry": "opentelemetry-sdk",
    "safetensors": "safetensors",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "trio_asyncio": "trio-asyncio",
}


def brought(extra: str) -> set[str]:
    """The distributions that an extra names, and those of the extras that it names."""
    found: set[str] = set()
    for line in EXTRAS[extra]:
        if inner := NAMED.match(line):
            found.update(*(brought(name) for name in inner[1].split(",")))
        else:
            found.add(re.split(r"[\[<>=!~ ;]", line)[0].lower())
    return found


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_every_extra_that_is_named_somewhere_is_there() -> None:
    named = {
        (path.name, extra)
        for path in TEXTS
        for found in NAMED.finditer(path.read_text("utf-8"))
        for extra in found[1].split(",")
    }
    assert {(name, extra) for name, extra in named if extra not in EXTRAS} == set()


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_extra_is_documented(extra: str) -> None:
    assert f"| `{extra}` |" in (ROOT / "docs" / "install.md").read_text("utf-8")


@pytest.mark.parametrize("module", OPTIONAL)
def test_what_the_package_imports_if_it_is_there_is_brought_by_an_extra(module: str) -> None:
    users = [path for path in (ROOT / "disco").rglob("*.py") if module in imported(path)]
    assert users, "nothing imports it any more"
    assert any(OPTIONAL[module] in brought(extra) for extra in EXTRAS if extra != "dev")
