"""A strict reader of Prometheus's text format 0.0.4, checked against Prometheus's own where that is installed."""

from __future__ import annotations

import importlib
import re
from typing import TypeAlias

Sample: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]

NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"
LABEL = re.compile(rf'({NAME})="((?:[^"\\\n]|\\[\\n"])*)"(?:,|$)')
LINE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\+Inf|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")
HEAD = re.compile(rf"# (HELP|TYPE) ({NAME}) (.+)")
ESCAPED = {r"\\": "\\", r"\n": "\n", r"\"": '"'}


def read(text: str) -> dict[Sample, float]:
    """Return every sample by name and labels; anything that is not the format fails the test."""
    found: dict[Sample, float] = {}
    told: set[tuple[str, str]] = set()
    for line in text.split("\n")[:-1]:
        if head := HEAD.fullmatch(line):
            assert (head[1], head[2]) not in told, f"told twice: {line}"
            told.add((head[1], head[2]))
            continue
        sample = LINE.fullmatch(line)
        assert sample is not None, f"no sample: {line!r}"
        key = (sample[1], labels(sample[2] or ""))
        assert key not in found, f"there twice: {line}"
        found[key] = float(sample[3])
    judge(text, found)
    return found


def labels(text: str) -> tuple[tuple[str, str], ...]:
    """Return labels, sorted by name."""
    parts = list(LABEL.finditer(text))
    assert "".join(part[0] for part in parts) == text, f"no labels: {text!r}"
    return tuple(
        sorted((part[1], re.sub(r'\\[\\n"]', lambda one: ESCAPED[one[0]], part[2])) for part in parts)
    )


def judge(text: str, found: dict[Sample, float]) -> None:
    """Compare with Prometheus's own parser, where that is installed."""
    try:
        parser = importlib.import_module("prometheus_client.parser")
    except ImportError:
        return
    theirs = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert theirs == found
