"""What a task says about masking, in its table ``aggregation.masking``."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from disco.core.aggregation.parameters import Parameter, Parameters, Reading

#: The table's keys with their defaults.
MASKING: Parameters = {
    "range": Parameter(4.0, low=0.0, high=1e6, above_low=True),
    "dropouts": Parameter(1 / 3, low=0.0, high=0.5, below_high=True),
    "phaseSeconds": Parameter(60.0, low=0.0, high=86_400.0, above_low=True),
}


@dataclass(frozen=True, slots=True)
class Terms:
    """How a task's contributions are masked.

    Args:
        range: the largest change of a weight that is told apart; larger ones are clipped to it.
        dropouts: the part of a round's members that may drop out, from 0 to below a half.
        phase_seconds: how long members may take for each phase after the keys.
    """

    range: float
    dropouts: float
    phase_seconds: float

    def threshold(self, members: int) -> int:
        """Return how many of a round's members it takes to open a mask: more than half, and at least 2."""
        # 0.3 · 10 is 2.9999…; what is that close to a whole number is meant to be it.
        return max(members - math.floor(self.dropouts * members + 1e-9), members // 2 + 1, 2)

    def document(self) -> dict[str, float]:
        """Return the table with every key, as participants read it."""
        return {"range": self.range, "dropouts": self.dropouts, "phaseSeconds": self.phase_seconds}


def read_terms(table: Mapping[str, Any], reading: Reading) -> Terms:
    """Read the table ``masking``; what is wrong goes to `reading`, and has its default in the terms."""
    defaults = {name: parameter.default or 0.0 for name, parameter in MASKING.items()}
    values = {**defaults, **reading.read("masking", table, MASKING, "masking")}
    return Terms(values["range"], values["dropouts"], values["phaseSeconds"])


def can_mask() -> bool:
    """Tell whether the package that masks are made with is here."""
    return importlib.util.find_spec("cryptography") is not None
