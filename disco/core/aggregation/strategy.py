"""A task's whole way from contributions to a global model.

    Contributed ─▶ share ─▶ changes ─▶ rule ─▶ steps ─▶ Weights
                   equal    staleness  mean    FedAvgM, FedAdam, …
                   samples  clipping   median
                                       …

A stage of another kind is a `Change`, a rule of its own (as with noise for privacy), or a `Step`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from disco.core.aggregation import Aggregator, Change, State, Step
from disco.core.aggregation.total import ExactTotal
from disco.core.aggregation.weighing import Equally
from disco.core.events import Contributed
from disco.core.weights import Float32s, Weights
from disco.errors import InvalidUpdate


class Weighing(Protocol):
    """Tells how much a contribution counts."""

    def share(self, made: Contributed) -> float:
        """Return its share, above 0.

        Raises:
            InvalidUpdate: it counts nothing.
        """


@runtime_checkable
class Remembering(Protocol):
    """A rule that needs something of earlier rounds; `Step` says what its methods promise."""

    def state(self) -> State:
        """See `Step.state`, with `finish` in the place of `apply`."""

    def restore(self, state: State, parameters: int) -> bool:
        """See `Step.restore`."""


@runtime_checkable
class Telling(Protocol):
    """A stage with something that a round should be remembered by."""

    def figures(self) -> Mapping[str, float]:
        """See `Change.figures`; asked after `finish`, before `begin`."""


@runtime_checkable
class Spending(Protocol):
    """A rule whose rounds spend what nothing gives back: no roll-back, no new start."""

    def cost(self) -> float:
        """Return what the round that was finished spends, 0 if none was; costs of rounds add up."""

    def charge(self, spent: float) -> None:
        """Be told what all rounds that the task has ever closed have spent, before `begin`."""


@runtime_checkable
class Ending(Protocol):
    """A stage that may say that the training has come to its end."""

    def ended(self) -> str:
        """Return why no further round may close, as a sentence for people; empty while the training goes on.

        It is asked after `begin`, and again after `restore` and `begin` when the server starts: what it depends on has
        to be kept with the round.
        """


@runtime_checkable
class Running(Protocol):
    """A rule that keeps a running total: to finish takes it as long after many contributions as after one."""

    total: ExactTotal


class Strategy:
    """Takes contributions of a round in, and makes the next global model of them."""

    def __init__(
        self,
        rule: Aggregator,
        *,
        weighing: Weighing | None = None,
        changes: Sequence[Change] = (),
        steps: Sequence[Step] = (),
    ) -> None:
        """Join the stages; `begin` before the first contribution.

        Args:
            rule: joins the updates of a round.
            weighing: how much each counts; the same if None.
            changes: what happens to each before, in order.
            steps: what happens to the rule's model behind, in order.
        """
        self._rule = rule
        self._weighing = weighing or Equally()
        self._changes = tuple(changes)
        self._steps = tuple(steps)

    def begin(self, current: Weights, round_: int) -> None:
        """Start a round from the current global model; what was added before is forgotten."""
        for change in self._changes:
            change.begin(current, round_)
        self._rule.begin(current)
        for step in self._steps:
            step.begin(current)

    def prepare(self) -> None:
        """Make ready for the first `add`: what takes long there, and can be done before."""
        if isinstance(self._rule, Running):
            self._rule.total.prepare()

    def add(self, made: Contributed) -> None:
        """Take one contribution in.

        Raises:
            InvalidUpdate: it cannot be aggregated; nothing has changed.
            StorageError: there is no room to hold it; nothing has changed.
        """
        share = self._weighing.share(made)
        update = made.update
        for change in self._changes:
            update = change.apply(update, made)
        self._rule.add(update, share, made.participant)

    def finish(self) -> Weights:
        """Return the new global model. Callable again until `begin`, also after more contributions.

        Raises:
            InvalidUpdate: it is not finite; nothing has changed.
        """
        weights = self._rule.finish()
        for step in self._steps:
            weights = step.apply(weights)
        try:
            weights.require_finite()
        except InvalidUpdate as error:
            raise InvalidUpdate(f"the aggregated model cannot be used: {error}") from error
        return weights

    def walked(self, contributions: int) -> int:
        """Return how many contributions `finish` walks over, after so many."""
        return 1 if isinstance(self._rule, Running) else contributions

    def figures(self) -> dict[str, float]:
        """Return what the stages want the round to be remembered by."""
        told = (stage.figures() for stage in self._stages() if isinstance(stage, Telling))
        return {name: figure for figures in told for name, figure in figures.items()}

    def cost(self) -> float:
        """Return what the round of the last `finish` spends of what nothing gives back, to be kept with it."""
        return self._rule.cost() if isinstance(self._rule, Spending) else 0.0

    def charge(self, spent: float) -> None:
        """Go on from what all rounds that the task has ever closed have spent, before `begin`."""
        if isinstance(self._rule, Spending):
            self._rule.charge(spent)

    def state(self) -> dict[str, Float32s]:
        """Return what is to be kept with the model of the last `finish`, to go on from it after a restart."""
        return {name: kept for stage in self._remembering() for name, kept in stage.state().items()}

    def restore(self, state: State, parameters: int) -> bool:
        """Take back what was kept with a model, before `begin`; without it begin anew.

        Args:
            state: as `state` gave it; empty to begin anew.
            parameters: of the model.

        Returns:
            Whether every stage that remembers something has found it.
        """
        for change in self._changes:
            change.forget()
        found = [stage.restore(state, parameters) for stage in self._remembering()]
        return all(found)

    def ended(self) -> str:
        """Return why the training has come to its end: the first reason that a stage has; empty while it goes on."""
        reasons = (stage.ended() for stage in self._stages() if isinstance(stage, Ending))
        return next((reason for reason in reasons if reason), "")

    def _stages(self) -> tuple[object, ...]:
        return (*self._changes, self._rule, *self._steps)

    def _remembering(self) -> list[Remembering]:
        return [stage for stage in (self._rule, *self._steps) if isinstance(stage, Remembering)]
