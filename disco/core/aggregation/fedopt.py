"""Server optimizers: what moves the model is not the mean change itself, but an optimizer that it feeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from disco.core.aggregation import State
from disco.core.weights import Float32s, Weights

#: Elements looked at in one go: what is computed between is then in a core's cache.
_STEP = 1 << 14

Float64s = NDArray[np.float64]


class Method(Protocol):
    """An optimizer's formulas, over a block of coordinates in float64."""

    @property
    def name(self) -> str:
        """What its memory is kept under."""

    @property
    def memory(self) -> dict[str, float]:
        """Names of what it remembers, and the value that each begins with."""

    def move(self, change: Float64s, memory: dict[str, Float64s]) -> Float64s:
        """Return the step for a mean change Δ, and update the memory in place."""


class ServerOptimizer:
    """w ← w + step(Δ), where Δ is how far the rule would move the model.

    The optimizer's memory is kept on disk with the round whose model it led to, and read again at start. Memory: 8
    bytes a parameter (4 for FedAvgM), twice that while a round closes.
    """

    def __init__(self, method: Method) -> None:
        """Make one that remembers nothing yet."""
        self._method = method
        self._current = Weights.zeros(())
        self._memory: dict[str, Float32s] = {}
        self._next: dict[str, Float32s] = {}

    def begin(self, current: Weights) -> None:
        """Start a round with the memory of the last `apply`."""
        self._current = current
        if self._next:
            self._memory, self._next = self._next, {}
        if any(known.size != current.parameters for known in self._memory.values()) or not self._memory:
            self._memory = self._fresh(current.parameters)

    def apply(self, proposed: Weights) -> Weights:
        """Take one step; what was remembered before stays until `begin`."""
        origin, target = self._current.flat, proposed.flat
        flat = np.empty(origin.size, dtype=np.float32)
        self._next = {name: np.empty_like(flat) for name in self._memory}
        with np.errstate(over="ignore"):  # a model that diverges ends at infinity, and the round is refused
            for start in range(0, origin.size, _STEP):
                there = slice(start, start + _STEP)
                change = np.subtract(target[there], origin[there], dtype=np.float64)
                memory = {name: known[there].astype(np.float64) for name, known in self._memory.items()}
                step = self._method.move(change, memory)
                np.add(step, origin[there], out=flat[there], casting="same_kind")
                for name, value in memory.items():
                    self._next[name][there] = value
        return Weights.from_flat(flat, self._current.shapes)

    def state(self) -> State:
        """Return the memory of the last `apply`."""
        return {f"{self._method.name}-{name}": value for name, value in (self._next or self._memory).items()}

    def restore(self, state: State, parameters: int) -> bool:
        """Take the memory of this method back, or begin anew. Tell which."""
        self._next = {}
        found = {name: state.get(f"{self._method.name}-{name}") for name in self._method.memory}
        fitting = {
            name: known for name, known in found.items() if known is not None and known.size == parameters
        }
        fits = fitting.keys() == self._method.memory.keys()
        self._memory = fitting if fits else self._fresh(parameters)
        return fits

    def _fresh(self, parameters: int) -> dict[str, Float32s]:
        memory = self._method.memory
        return {name: np.full(parameters, first, dtype=np.float32) for name, first in memory.items()}


@dataclass(frozen=True)
class AvgM:
    """FedAvgM: m ← β m + Δ, w ← w + η m.

    Defaults: η = 1 (``learningRate``), β = 0.9 (``momentum``). With β = 0 it is the mean with a server's learning rate.

    Source: Hsu et al. 2019 (arXiv 1909.06335), FedAvgM.
    """

    learning_rate: float = 1.0
    momentum: float = 0.9

    name: ClassVar[str] = "fedavgm"

    @property
    def memory(self) -> dict[str, float]:
        """M, from 0."""
        return {"m": 0.0}

    def move(self, change: Float64s, memory: dict[str, Float64s]) -> Float64s:
        """Return η m."""
        m = memory["m"]
        m *= self.momentum
        m += change
        return self.learning_rate * m


@dataclass(frozen=True)
class _Adaptive:
    """m ← β₁ m + (1 - β₁) Δ, w ← w + η m / (√v + τ); methods differ in v, which begins at τ².

    Defaults: η = 0.01 (``learningRate``), β₁ = 0.9 (``beta1``), τ = 0.001 (``tau``). η is about how far a coordinate
    moves in a round, and wants to be tried out.

    Source: Reddi et al. 2021 (arXiv 2003.00295), algorithm 2.
    """

    learning_rate: float = 0.01
    beta1: float = 0.9
    tau: float = 1e-3

    @property
    def memory(self) -> dict[str, float]:
        """M, from 0, and v, from τ²."""
        return {"m": 0.0, "v": self.tau**2}

    def move(self, change: Float64s, memory: dict[str, Float64s]) -> Float64s:
        """Return η m / (√v + τ)."""
        m, v = memory["m"], memory["v"]
        m *= self.beta1
        m += (1.0 - self.beta1) * change
        self._grow(v, change * change)
        return self.learning_rate * m / (np.sqrt(v) + self.tau)

    def _grow(self, v: Float64s, square: Float64s) -> None:
        """Update v with Δ², in place."""
        raise NotImplementedError


@dataclass(frozen=True)
class Adagrad(_Adaptive):
    """FedAdagrad: v ← v + Δ². Every step is smaller than it would have been before."""

    name: ClassVar[str] = "fedadagrad"

    def _grow(self, v: Float64s, square: Float64s) -> None:
        v += square


@dataclass(frozen=True)
class Adam(_Adaptive):
    """FedAdam: v ← β₂ v + (1 - β₂) Δ². Default: β₂ = 0.99 (``beta2``)."""

    beta2: float = 0.99

    name: ClassVar[str] = "fedadam"

    def _grow(self, v: Float64s, square: Float64s) -> None:
        v *= self.beta2
        v += (1.0 - self.beta2) * square


@dataclass(frozen=True)
class Yogi(_Adaptive):
    """FedYogi: v ← v - (1 - β₂) Δ² sign(v - Δ²), which grows v slower than Adam. Default: β₂ = 0.99 (``beta2``)."""

    beta2: float = 0.99

    name: ClassVar[str] = "fedyogi"

    def _grow(self, v: Float64s, square: Float64s) -> None:
        v -= (1.0 - self.beta2) * square * np.sign(v - square)
