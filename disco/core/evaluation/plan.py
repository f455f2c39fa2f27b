"""What a task says about evaluation: read, and checked when the task is added.

The table ``evaluation`` of a task's document is the server's own; DISCO's clients neither need nor refuse it:

    evaluation.data       held-out examples: a file in the task's folder
    evaluation.keepBest   ``{figure, mode}``: the round that is best by this figure stays on disk
    evaluation.stopping   ``{figure, mode, patience, minDelta}``: the training ends when the figure gets no better
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from disco.core.evaluation.figures import PARTICIPANTS
from disco.errors import Problem

MODES = ("max", "min")


@dataclass(frozen=True, slots=True)
class Aim:
    """What is better.

    Args:
        figure: its full name: ``evaluation.accuracy``.
        mode: ``max`` where more is better, ``min`` where less is.
    """

    figure: str
    mode: str

    @property
    def worst(self) -> float:
        """A value that every other is better than."""
        return float("-inf") if self.mode == "max" else float("inf")

    def better(self, value: float, than: float, by: float = 0.0) -> bool:
        """Tell whether a value is better than another one, by more than `by`."""
        return value > than + by if self.mode == "max" else value < than - by


@dataclass(frozen=True, slots=True)
class Stopping:
    """When to stop.

    Args:
        aim: what is to get better.
        patience: rounds without that after which the training ends, at least 1.
        min_delta: by how much more a value has to be better to count as better; at least 0.
    """

    aim: Aim
    patience: int
    min_delta: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a task is evaluated.

    Args:
        data: the name of its file of held-out examples, or None.
        best: by what the best round is kept, or None.
        stopping: when the training ends, or None to go on.
    """

    data: str | None = None
    best: Aim | None = None
    stopping: Stopping | None = None

    @property
    def awaited(self) -> Aim | None:
        """What is to get better for the training to go on; None if it goes on anyway."""
        return None if self.stopping is None else self.stopping.aim


def plan_of(document: Mapping[str, Any]) -> Plan:
    """Read a valid task's plan; see `read_plan`."""
    return read_plan(document, "task")[0]


def read_plan(document: Mapping[str, Any], path: str) -> tuple[Plan, list[Problem]]:
    """Read what a task's document says, and what is wrong with it beyond its schema.

    Args:
        document: what is not of the schema's type in it is passed over.
        path: where the document is.

    Returns:
        The plan, which is to be used only if there are no problems, and the problems.
    """
    table = _table(document, "evaluation")
    best, stopping = _table(table, "keepBest"), _table(table, "stopping")
    data = table.get("data")
    plan = Plan(
        data if isinstance(data, str) else None,
        _aim(best) if best else None,
        Stopping(
            _aim(stopping), int(_number(stopping, "patience", 1)), float(_number(stopping, "minDelta", 0))
        )
        if stopping
        else None,
    )
    return plan, list(_problems(plan, document, f"{path}.evaluation"))


def _problems(plan: Plan, document: Mapping[str, Any], where: str) -> Iterator[Problem]:
    if plan.data is not None and not _is_file_name(plan.data):
        yield Problem(
            f"{where}.data", f"must be the name of a file in the task's folder, not {plan.data!r:.80}"
        )
    if "privacy" not in _table(document, "aggregation"):
        return
    for name, aim in (("keepBest", plan.best), ("stopping", plan.awaited)):
        if aim is not None and aim.figure.startswith(PARTICIPANTS):
            why = (
                f"is {aim.figure}, but of a task with aggregation.privacy no figures of participants are kept"
            )
            yield Problem(f"{where}.{name}.figure", why)


def _is_file_name(name: str) -> bool:
    """Tell whether a name stays in its folder, on every system."""
    return (
        name not in ("", ".", "..") and not any(letter in name for letter in "/\\\0:") and name.isprintable()
    )


def _aim(table: Mapping[str, Any]) -> Aim:
    return Aim(str(table.get("figure", "")), str(table.get("mode", "max")))


def _number(table: Mapping[str, Any], name: str, default: float) -> float:
    value = table.get(name, default)
    return value if isinstance(value, int | float) else default


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}
