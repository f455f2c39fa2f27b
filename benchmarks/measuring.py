"""What a run of the benchmarks finds, and what is read off it: medians, ratios, goals. Pure.

A row is one kind of work. Its samples are what each server needed or reached, in the order in which they were taken;
servers are measured in turn, so that a noisy minute hits all of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

OURS = "disco"
#: In the order of the table's columns, with their headings.
SERVERS = {
    "disco": "Disco",
    "memory": "Disco in memory",
    "hypercorn": "Disco in hypercorn",
    "node": "Node",
    "flower": "Flower",
    "flower_bare": "Flower, bare",
    "superlink": "Flower's SuperLink",
    "stock": "stock hypercorn",
    "tcp": "raw TCP",
}
#: Units of which more is better.
MORE_IS_BETTER = frozenset({"MB/s", "a second"})


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of work.

    Args:
        group: the cell's name, as after ``--only``.
        work: what was done.
        unit: of the samples.
        samples: by server.
        goals: by peer, how many times better than it Disco is to be.
        limit: the goal as a value of Disco's own, in `unit`; None if there is none.
        notes: by server, why it has no samples, or what is special.
    """

    group: str
    work: str
    unit: str
    samples: Mapping[str, Sequence[float]]
    goals: Mapping[str, float] = field(default_factory=dict)
    limit: float | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    def median(self, server: str) -> float:
        """Return the median of a server's samples; NaN if it has none."""
        samples = self.samples.get(server)
        return statistics.median(samples) if samples else math.nan

    def ratio(self, peer: str) -> float:
        """Return how many times better than a peer Disco is: above 1 is better; NaN if either was not measured."""
        ours, theirs = self.median(OURS), self.median(peer)
        better, worse = (ours, theirs) if self.unit in MORE_IS_BETTER else (theirs, ours)
        return better / worse if worse else math.nan

    def missed(self) -> Sequence[str]:
        """Return the goals that were not reached, in words."""
        missed = [
            f"{self.ratio(peer):.2f} x {SERVERS[peer]}, goal {goal:g} x"
            for peer, goal in self.goals.items()
            if self.ratio(peer) < goal
        ]
        if self.limit is not None and self._beyond(self.median(OURS), self.limit):
            missed.append(f"{self.median(OURS):.3g} {self.unit}, goal {self.limit:,.0f}")
        return missed

    def _beyond(self, value: float, limit: float) -> bool:
        return value < limit if self.unit in MORE_IS_BETTER else value > limit


def _or_none(number: float) -> float | None:
    """Return what JSON can say of a number that may be NaN."""
    return None if math.isnan(number) else number


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run: where, when, and every row."""

    machine: Mapping[str, Any]
    rows: Sequence[Row]

    def document(self) -> dict[str, Any]:
        """Return the report as JSON has it, with the medians and ratios that are read off it."""
        return {
            "machine": dict(self.machine),
            "rows": [
                {
                    **asdict(row),
                    "medians": {server: _or_none(row.median(server)) for server in row.samples},
                    "ratios": {
                        server: _or_none(row.ratio(server)) for server in row.samples if server != OURS
                    },
                    "missed": list(row.missed()),
                }
                for row in self.rows
            ],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Report:
        """Read a report's JSON."""
        derived = {"medians", "ratios", "missed"}
        rows = [
            Row(**{name: value for name, value in row.items() if name not in derived})
            for row in document["rows"]
        ]
        return cls(document["machine"], rows)
