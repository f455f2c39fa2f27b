"""Local privacy: what a participant does to a contribution before anybody else sees it.

A task's ``trainingInformation`` asks for it in the words of DISCO's clients, and Python participants do what those do:

    clippingRadius, noiseScale              (v2, v3) the change is clipped to a norm, and noise is added
    privacy.differentialPrivacy             (v4) ``{clippingRadius, epsilon, delta}``: a budget for the whole training

Source: DISCO's ``privacy.ts`` and ``trainer.ts`` of each generation. docs/privacy.md says what each protects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from disco.core.aggregation.changes import distance
from disco.core.aggregation.noise import Keys, fresh_key, gaussian
from disco.core.weights import Float32s, Weights
from disco.errors import InvalidUpdate, LimitExceeded, SettingsError

#: Contributions whose norms make a radius, and the smallest radius. Source: v4's ``getClippingRadius``.
WINDOW, SMALLEST_RADIUS = 3, 1e-12

#: Elements looked at in one go.
_STEP = 1 << 15


class LocalPrivacy(Protocol):
    """Something that protects contributions."""

    def protect(self, update: Weights, current: Weights) -> Weights:
        """Return what to send in place of an update, in a buffer of its own.

        Args:
            update: trained from the current model.
            current: the global model that it will be compared with.

        Raises:
            InvalidUpdate: the structures differ, or a value is not finite.
            LimitExceeded: there is no privacy left to spend.
        """


@dataclass(slots=True)
class ClippedNoise:
    """u ← u / max(1, ‖u‖ / C) + N(0, σ² I), where u = w' - w is the change, and ‖u‖ its norm over all parameters.

    One contribution is (ε, δ)-private for the ε and δ that the Gaussian mechanism has with noise σ and sensitivity 2 C;
    without a radius it is not private in that sense, whatever σ.

    Args:
        clipping_radius: C, above 0; None not to clip.
        deviation: σ, of each parameter's noise, from 0 up.
        keys: gives the key of each contribution's noise.

    Raises:
        SettingsError: a number is out of its range.
    """

    clipping_radius: float | None = None
    deviation: float = 0.0
    keys: Keys = field(default=fresh_key, repr=False)

    def __post_init__(self) -> None:
        if self.clipping_radius is not None:
            _require("clipping_radius", self.clipping_radius, above=0.0)
        if not 0.0 <= self.deviation < math.inf:
            raise SettingsError(f"deviation must be a number from 0 up, not {self.deviation}")

    def protect(self, update: Weights, current: Weights) -> Weights:
        """See `LocalPrivacy.protect`."""
        update.require_structure(current.shapes)
        norm = distance(update, current.flat)
        _require_norm(norm, update)
        radius = math.inf if self.clipping_radius is None else self.clipping_radius
        flat, origin = np.empty(update.parameters, dtype=np.float32), current.flat
        draw, start = gaussian(self.keys()), 0
        for tensor in update.tensors:
            there = slice(start, start + tensor.size)
            _noised(tensor, origin[there], max(1.0, norm / radius), self.deviation, draw, flat[there])
            start = there.stop
        return Weights.from_flat(flat, update.shapes)


@dataclass(slots=True)
class PrivacyBudget:
    """uᵢ ← uᵢ / max(1, ‖uᵢ‖ / rᵢ) + N(0, σᵢ² I) for every tensor i of the change u.

        rᵢ = min(C, mean of ‖uᵢ‖ over this contribution and the last two)
        σᵢ = 2 rᵢ √(2 ln(1.25 / δ')) / ε',  ε' = ε / T,  δ' = δ / T

    T contributions spend the budget, and another is refused. What (ε, δ) then holds of is one tensor of the model, of
    which the others know nothing: a model of L tensors spends up to L times that. And it holds where the radius does
    not depend on the data (`adaptive` false: rᵢ = C), and where ε' is at most 1, the formula's range.

    Args:
        epsilon: ε of the whole training, above 0.
        delta: δ, between 0 and 1.
        clipping_radius: C, above 0.
        rounds: T, from 1 up.
        adaptive: whether the radius follows the norms of late, as DISCO's clients do.
        keys: gives the key of each contribution's noise.

    Raises:
        SettingsError: a number is out of its range.

    Source: DISCO's ``privacy.ts`` and ``trainer.ts`` (2026); Dwork and Roth 2014, theorem A.1, for σ.
    """

    epsilon: float
    delta: float
    clipping_radius: float = 1.0
    rounds: int = 1
    adaptive: bool = True
    keys: Keys = field(default=fresh_key, repr=False)
    spent_rounds: int = field(default=0, init=False)
    _norms: list[list[float]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        _require("epsilon", self.epsilon, above=0.0)
        _require("clipping_radius", self.clipping_radius, above=0.0)
        if not 0.0 < self.delta < 1.0:
            raise SettingsError(f"delta must be between 0 and 1, not {self.delta}")
        if self.rounds < 1:
            raise SettingsError(f"rounds must be at least 1, not {self.rounds}")

    def protect(self, update: Weights, current: Weights) -> Weights:
        """See `LocalPrivacy.protect`. It spends the budget's part of one round."""
        if self.spent_rounds >= self.rounds:
            raise LimitExceeded(
                f"the local privacy budget, ε = {self.epsilon:g} and δ = {self.delta:g} for {self.rounds}"
                f" contributions, is spent"
            )
        update.require_structure(current.shapes)
        base = [tensor.reshape(-1) for tensor in current.arrays()]
        norms = [_norm(tensor, origin) for tensor, origin in zip(update.tensors, base, strict=True)]
        _require_norm(math.hypot(*norms), update)
        self._norms = [*self._norms[1 - WINDOW :], norms]
        self.spent_rounds += 1
        flat = np.empty(update.parameters, dtype=np.float32)
        draw, start = gaussian(self.keys()), 0
        for tensor, origin, norm, radius in zip(update.tensors, base, norms, self.radii(), strict=True):
            there = slice(start, start + tensor.size)
            _noised(tensor, origin, max(1.0, norm / radius), self.deviation(radius), draw, flat[there])
            start = there.stop
        return Weights.from_flat(flat, update.shapes)

    def radii(self) -> list[float]:
        """Return rᵢ of the last contribution, one a tensor."""
        count = len(self._norms)
        means = [sum(norms) / count for norms in zip(*self._norms, strict=True)]
        if not self.adaptive:
            return [self.clipping_radius for _ in means]
        return [max(SMALLEST_RADIUS, min(mean, self.clipping_radius)) for mean in means]

    def deviation(self, radius: float) -> float:
        """Return σ for a radius r."""
        epsilon, delta = self.epsilon / self.rounds, self.delta / self.rounds
        return 2.0 * radius * math.sqrt(2.0 * math.log(1.25 / delta)) / epsilon


def asked_by(document: Mapping[str, Any], dialect: str) -> LocalPrivacy | None:
    """Return the local privacy that a task asks for, None if it asks for none.

    Args:
        document: the task as servers give it.
        dialect: a ``noiseScale`` s means noise of deviation (s C)² to v2's clients, where there is a radius C, and of
            s² to v3's; v4's have no such word, and are taken for v3's.

    Raises:
        SettingsError: what it asks for cannot be done.
    """
    training = _table(document, "trainingInformation")
    privacy = _table(training, "privacy")
    try:
        if budget := _table(privacy, "differentialPrivacy"):
            return _budget(budget, privacy, training)
        radius = training.get("clippingRadius", privacy.get("clippingRadius"))
        scale = training.get("noiseScale", privacy.get("noiseScale"))
        if radius is None and scale is None:
            return None
        factor = radius if dialect == "v2" and radius is not None else 1.0
        return ClippedNoise(None if radius is None else float(radius), float((scale or 0.0) * factor) ** 2)
    except SettingsError as error:
        raise SettingsError(f"the task's local privacy cannot be applied: {error}") from error


def _budget(
    budget: Mapping[str, Any], privacy: Mapping[str, Any], training: Mapping[str, Any]
) -> PrivacyBudget:
    """Read v4's budget. The radius of byzantine tasks bounds its own, as in DISCO's clients."""
    bound = _table(privacy, "byzantineFaultTolerance").get("clippingRadius", math.inf)
    return PrivacyBudget(
        epsilon=float(budget["epsilon"]),
        delta=float(budget["delta"]),
        clipping_radius=float(min(budget.get("clippingRadius", 1.0), bound)),
        rounds=math.ceil(training["epochs"] / training["roundDuration"]),
    )


def _noised(
    tensor: Float32s,
    origin: Float32s,
    divisor: float,
    deviation: float,
    draw: np.random.Generator,
    out: Float32s,
) -> None:
    """Write origin + (tensor - origin) / divisor + noise to `out`, rounded to float32 once."""
    room = np.empty(_STEP)
    for start in range(0, tensor.size, _STEP):
        there = slice(start, min(start + _STEP, tensor.size))
        change = tensor[there].astype(np.float64)
        change -= origin[there]
        change /= divisor
        change += origin[there]
        if deviation:
            noise = room[: change.size]
            draw.standard_normal(out=noise)
            noise *= deviation
            change += noise
        out[there] = change


def _norm(tensor: Float32s, origin: Float32s) -> float:
    return distance(Weights.from_flat(tensor, [(tensor.size,)]), origin)


def _require_norm(norm: float, update: Weights) -> None:
    if not math.isfinite(norm):
        update.require_finite()
        raise InvalidUpdate("weights has values whose squares are too large to be summed")


def _require(name: str, value: float, *, above: float) -> None:
    if not above < value < math.inf:
        raise SettingsError(f"{name} must be a number above {above:g}, not {value}")


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}
