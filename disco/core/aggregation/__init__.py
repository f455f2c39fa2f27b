"""How contributions become a global model: one strategy a file, chosen by a task.

    contribution ─▶ changes ─▶ rule ─▶ steps ─▶ global model
                    staleness  mean    FedAvgM, FedAdagrad, FedYogi, FedAdam
                    clipping   median, trimmed mean, Krum, geometric median, centered clipping, private mean

`disco.core.aggregation.strategy` joins the stages, `disco.core.aggregation.recipe` reads and checks what a task
asks for, and `disco.core.aggregation.registry` makes it. All of it is pure numpy: no I/O, no clock, callable from
a worker thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from disco.core.events import Contributed
from disco.core.names import ParticipantID
from disco.core.weights import Float32s, Weights

#: What a stage needs to go on after a restart: 1-D arrays of one element a parameter, by names of ``[a-z0-9-]+``.
State: TypeAlias = Mapping[str, Float32s]


class Aggregator(Protocol):
    """A rule: one task's running aggregation of updates."""

    def begin(self, current: Weights) -> None:
        """Start a round from the current global model; whatever was added before is forgotten."""

    def add(self, update: Weights, share: float, sender: ParticipantID | None = None) -> None:
        """Take one update in, checking its values first.

        Args:
            update: of the current model's structure; not kept after the call.
            share: its weight relative to the others, above 0, dimensionless.
            sender: who sent it, for rules that remember; None if nobody knows.

        Raises:
            InvalidUpdate: a value is not finite; nothing has changed.
            StorageError: there is no room to hold it; nothing has changed.
        """

    def finish(self) -> Weights:
        """Return the new global model, in a buffer of its own. Callable again until `begin`."""


class Change(Protocol):
    """A stage before the rule: it may change an update, looking at that one only."""

    def begin(self, current: Weights, round_: int) -> None:
        """Start a round from the current global model."""

    def apply(self, update: Weights, made: Contributed) -> Weights:
        """Return the update to go on with: the one given, or one in a buffer that the next call reuses.

        Args:
            update: what the stage before made of it.
            made: the contribution as it came.

        Raises:
            InvalidUpdate: it cannot be used; nothing has changed.
        """

    def figures(self) -> Mapping[str, float]:
        """Return what the round should be remembered by."""

    def forget(self) -> None:
        """Drop what is left of earlier rounds: the training starts anew."""


class Step(Protocol):
    """A stage behind the rule: what the server makes of the model that the rule proposes."""

    def begin(self, current: Weights) -> None:
        """Start a round. What the last `apply` proposed to remember is remembered from now on."""

    def apply(self, proposed: Weights) -> Weights:
        """Return the model to go on with, in a buffer of its own. Callable again until `begin`, with one result."""

    def state(self) -> State:
        """Return what is to be remembered once the model of the last `apply` is the current one."""

    def restore(self, state: State, parameters: int) -> bool:
        """Take back what `state` gave; of anything else nothing, and start anew. Tell which.

        Args:
            state: may hold the arrays of other stages too; empty to start anew.
            parameters: of the model.
        """
