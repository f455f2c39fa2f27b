"""A task's figures: those that a round closes with, those that come later, and what they lead to."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from disco.core.aggregation.recipe import Recipe
from disco.core.aggregation.weighing import BySamples
from disco.core.evaluation import EVALUATION, Progress, Reported, plan_of
from disco.core.events import Contributed, Ended
from disco.core.task import Task
from disco.errors import StorageError, UnknownRound
from disco.runtime.journal import Journal
from disco.runtime.keeper import Keeper
from disco.storage.contract import RoundRecord

log = logging.getLogger("disco.runtime")


class Judge:
    """Keeps the figures of one task's rounds, knows the best round, and says when nothing gets better any more.

    All methods are for the owner of the task's session.

    Args:
        task: whose rounds.
        recipe: its aggregation, which says how much a contribution's figures count.
        keeper: where rounds are.
    """

    def __init__(self, task: Task, recipe: Recipe, keeper: Keeper) -> None:
        self._task = task.id
        self._keeper = keeper
        self._progress = Progress(plan_of(task.document))
        self._reported = _reported(recipe)
        self.journal = Journal()

    @property
    def best(self) -> int | None:
        """The best round so far; None where no best one is kept, or none has the figure."""
        return self._progress.best

    @property
    def ended(self) -> str:
        """Why the training has come to its end, as a sentence; empty while it goes on."""
        return self._progress.ended

    async def resume(self) -> None:
        """Go on from what is on disk, at the start and when the training starts anew.

        Raises:
            StorageError: it cannot be read.
        """
        rounds = await self._keeper.rounds(self._task)
        marks = await self._keeper.marks(self._task)
        self._progress.resume(marks, [(record.number, record.figures) for record in rounds])

    def begin(self) -> None:
        """Begin a round."""
        if self._reported is not None:
            self._reported.begin()

    def take(self, made: Contributed) -> None:
        """Take in what a contribution that counts says of itself."""
        if self._reported is not None:
            self._reported.add(made)

    def reported(self) -> Mapping[str, float]:
        """Return the means of what the round's participants say of themselves."""
        return {} if self._reported is None else self._reported.figures()

    async def see(self, record: RoundRecord) -> None:
        """Take in a round that has been stored."""
        if self._progress.see(record.number, record.figures):
            await self._mark(record.number)

    async def restart(self, number: int) -> None:
        """Be patient again: an operator made an earlier model current, as round `number`, which has been stored."""
        self._progress.restart(number)
        await self._mark(number)

    async def add(self, round_: RoundRecord, figures: Mapping[str, float]) -> Ended | None:
        """Add a scorer's figures to a stored round; say if the training ends by them.

        Raises:
            UnknownRound: the round is not on disk any more.
            StorageError: the disk refused; nothing has changed.
        """
        await self._require_same(round_)
        named = {EVALUATION + name: value for name, value in figures.items()}
        before = self.ended
        changed = self._progress.see(round_.number, {**round_.figures, **named})
        marks = self._progress.marks() if changed else None
        await self._keeper.add_figures(self._task, round_.number, named, marks)
        self.journal.amend(round_.number, named)
        if not self.ended or before:
            return None
        log.warning("task=%s round=%s the training has ended: %s", self._task, round_.number, self.ended)
        return Ended(self.ended)

    async def _require_same(self, round_: RoundRecord) -> None:
        """Check that a round is still the one that it was: after a reset there may be another of its number."""
        kept = {record.number: record for record in await self._keeper.rounds(self._task)}
        found = kept.get(round_.number)
        if found is None or found.closed_at != round_.closed_at:
            raise UnknownRound(f"round {round_.number} is not on disk any more")

    async def _mark(self, number: int) -> None:
        """Keep the marks. If the disk refuses, they are found again in the rounds at the next start."""
        try:
            await self._keeper.add_figures(self._task, number, {}, self._progress.marks())
        except (StorageError, UnknownRound) as error:
            log.error("task=%s round=%s the best round cannot be noted: %s", self._task, number, error)


def _reported(recipe: Recipe) -> Reported | None:
    """Make what sums participants' figures; nothing for a private model, as they would tell of their examples."""
    if recipe.privacy is not None:
        return None
    if recipe.weighting is None:
        return Reported()
    return Reported(BySamples(int(recipe.weighting["cap"]), int(recipe.weighting["unstated"])))
