"""What ``disco doctor`` finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from disco.settings import MIB


class Health(StrEnum):
    """How good a finding is. Only *wrong* keeps a deployment from working."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        check: what, in a word or two.
        health: how it is.
        detail: what was found, as a sentence without an end.
        advice: what to change; empty when nothing need be.
    """

    check: str
    health: Health
    detail: str
    advice: str = ""


def fine(check: str, detail: str) -> Finding:
    """Make a finding that all is well."""
    return Finding(check, Health.OK, detail)


def warning(check: str, detail: str, advice: str) -> Finding:
    """Make a finding that works, and may not for long."""
    return Finding(check, Health.WARNING, detail, advice)


def wrong(check: str, detail: str, advice: str) -> Finding:
    """Make a finding that keeps the deployment from working."""
    return Finding(check, Health.WRONG, detail, advice)


def all_well(findings: Iterable[Finding]) -> bool:
    """Tell whether nothing is wrong."""
    return all(finding.health is not Health.WRONG for finding in findings)


def mebibytes(count: float) -> str:
    """Write a number of bytes for people."""
    return f"{count / MIB:,.0f} MiB" if count < 10 * 1024 * MIB else f"{count / MIB / 1024:,.0f} GiB"
