"""Parameters of strategies: their ranges, and tables of them in a task's document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from disco.errors import Problem


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number.

    Args:
        default: what it is if not given; None if it has to be given.
        low: the smallest value.
        high: the largest value; None if there is none.
        above_low: whether `low` itself is out.
        below_high: whether `high` itself is out.
        whole: whether it counts something.
    """

    default: float | None
    low: float
    high: float | None = None
    above_low: bool = False
    below_high: bool = False
    whole: bool = False

    def with_default(self, default: float) -> Parameter:
        """Return the same with another default."""
        return replace(self, default=default)

    def fits(self, value: object) -> bool:
        """Tell whether a value of a JSON document, where numbers are finite, is one for this parameter."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.whole and value != int(value):
            return False
        enough = value > self.low if self.above_low else value >= self.low
        return enough and (
            self.high is None or (value < self.high if self.below_high else value <= self.high)
        )

    @property
    def rule(self) -> str:
        """What it must be, in words."""
        kind = "a whole number" if self.whole else "a number"
        low = f"above {self.low:g}" if self.above_low else f"from {self.low:g}"
        if self.high is None:
            return f"{kind} {low}" if self.above_low else f"{kind} {low} up"
        return f"{kind} {low} {'to below' if self.below_high else 'to'} {self.high:g}"


Parameters: TypeAlias = Mapping[str, Parameter]


@dataclass(slots=True)
class Reading:
    """Reads tables of parameters below a path, and keeps everything that is wrong with them."""

    path: str
    problems: list[Problem] = field(default_factory=list)

    def problem(self, place: str, told: str) -> None:
        """Add a problem at a place below the path."""
        self.problems.append(Problem(f"{self.path}.{place}", told))

    def read(self, place: str, given: Mapping[str, Any], known: Parameters, owner: str) -> dict[str, float]:
        """Return the parameters of `owner`, defaults included; those with a problem are left out."""
        prefix = f"{place}." if place else ""
        for name in given:
            if name not in known:
                listed = f"it has {', '.join(known)}" if known else "it has none"
                self.problem(f"{prefix}{name}", f"is not a parameter of {owner}: {listed}")
        values: dict[str, float] = {}
        for name, parameter in known.items():
            value = given.get(name, parameter.default)
            if name not in given and value is None:
                self.problem(f"{prefix}{name}", f"is missing: {owner} needs {parameter.rule}")
            elif not parameter.fits(value):
                self.problem(f"{prefix}{name}", f"must be {parameter.rule}, not {value!r:.40}")
            else:
                values[name] = int(value) if parameter.whole else float(value)
        return values

    def optional(self, table: Mapping[str, Any], name: str, known: Parameters) -> dict[str, float] | None:
        """Return the parameters of a table that may be missing."""
        given = table.get(name)
        return self.read(name, given, known, name) if isinstance(given, Mapping) else None
