"""Models and updates for the tests of strategies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from disco.core.aggregation import Aggregator
from disco.core.aggregation.centered_clipping import CenteredClipping
from disco.core.aggregation.geometric_median import GeometricMedian
from disco.core.aggregation.krum import Krum
from disco.core.aggregation.mean import Mean
from disco.core.aggregation.median import Median
from disco.core.aggregation.trimmed_mean import TrimmedMean
from disco.core.events import Contributed
from disco.core.names import ParticipantID
from disco.core.weights import Shape, Weights, count

#: A matrix, a vector, an empty tensor and a scalar.
SHAPES: tuple[Shape, ...] = ((3, 4), (5,), (0, 2), ())

#: Every rule, with parameters that matter for a handful of contributions.
RULES: dict[str, Callable[[], Aggregator]] = {
    "mean": Mean,
    "median": Median,
    "trimmed mean": lambda: TrimmedMean(0.3),
    "krum": lambda: Krum(0.2),
    "multi-krum": lambda: Krum(0.2, multi=True),
    "geometric median": GeometricMedian,
    "centered clipping": lambda: CenteredClipping(1e6),
}


def random_weights(seed: int, scale: float = 1.0, shapes: Sequence[Shape] = SHAPES) -> Weights:
    flat = np.random.default_rng(seed).standard_normal(count(shapes)) * scale
    return Weights.from_flat(flat.astype(np.float32), shapes)


def vector(*values: float) -> Weights:
    return Weights.from_flat(np.array(values, dtype=np.float32), [(len(values),)])


def constant(value: float, like: Weights) -> Weights:
    return Weights.from_flat(np.full(like.parameters, value, dtype=np.float32), like.shapes)


def poisoned(weights: Weights, value: float, place: int = -1) -> Weights:
    flat = weights.flat.copy()
    flat[place] = value
    return Weights.from_flat(flat, weights.shapes)


def aggregated(
    rule: Aggregator, current: Weights, updates: Iterable[Weights], shares: Iterable[float] | None = None
) -> Weights:
    """Run one round of a rule."""
    given = list(updates)
    rule.begin(current)
    for index, (update, share) in enumerate(
        zip(given, [1.0] * len(given) if shares is None else shares, strict=True)
    ):
        rule.add(update, share, ParticipantID(f"p{index}"))
    return rule.finish()


def contribution(
    update: Weights, who: str = "a", round_: int = 0, samples: float | None = None
) -> Contributed:
    return Contributed(ParticipantID(who), round_, update, samples=samples)


def matrix(updates: Sequence[Weights]) -> NDArray[np.float64]:
    """Return updates as rows of float64."""
    return np.array([update.flat for update in updates], dtype=np.float64)


def within_ulps(found: NDArray[np.float32], exact: NDArray[np.float64], ulps: int) -> bool:
    """Tell whether float32 values are the exact ones, rounded, to some units in the last place."""
    rounded = exact.astype(np.float32)
    return bool((np.abs(found.astype(np.float64) - rounded) <= ulps * np.spacing(np.abs(rounded))).all())
