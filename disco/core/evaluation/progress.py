"""How a training goes: which round is the best so far, and whether it still gets better.

What has to outlast a restart are marks, a round and its value each, which the store keeps with the rounds: *best*,
*stopping*, the round since which nothing was better, and *ended*, the one that was one too many. What came after them
is seen again when the server starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from disco.core.evaluation.plan import Aim, Plan


@dataclass(frozen=True, slots=True)
class Mark:
    """A round that is singled out, such as the best so far.

    Args:
        value: for which; infinite where every other one is better.
    """

    round: int
    value: float


class Progress:
    """Follows the figures of a task's rounds. Rounds are seen in order; one may be seen again when it has more figures.

    Args:
        plan: by which figures.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._best: Mark | None = None
        self._reference: Mark | None = None
        self._last: Mark | None = None
        self.ended = ""  # a sentence that says why, once nothing gets better any more

    @property
    def best(self) -> int | None:
        """The best round so far; None where none has the figure, or no best one is kept."""
        return None if self._best is None else self._best.round

    def marks(self) -> dict[str, Mark]:
        """Return what is to be kept, by names that belong to the plan: another plan knows nothing of it."""
        kept = {
            _name("best", self._plan.best): self._best,
            _name("stopping", self._plan.awaited): self._reference,
            _name("ended", self._plan.awaited): self._last,
        }
        return {name: mark for name, mark in kept.items() if mark is not None}

    def resume(self, marks: Mapping[str, Mark], rounds: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Go on from marks, and from the rounds on disk, oldest first, of which some may have come after them."""
        self.forget()
        self._best = marks.get(_name("best", self._plan.best))
        self._reference = marks.get(_name("stopping", self._plan.awaited))
        if (last := marks.get(_name("ended", self._plan.awaited))) is not None:
            self._conclude(last)  # the task may be more patient now
        for number, figures in rounds:
            self.see(number, figures)

    def see(self, round_: int, figures: Mapping[str, float]) -> bool:
        """Take the figures of a round in, and tell whether the marks have changed."""
        before = (self._best, self._reference, self._last)
        if self._plan.best is not None:
            self._best = _advanced(self._best, round_, figures, self._plan.best)
        stopping = self._plan.stopping
        if stopping is not None and not self.ended and stopping.aim.figure in figures:
            self._reference = _advanced(self._reference, round_, figures, stopping.aim, stopping.min_delta)
            self._conclude(Mark(round_, figures[stopping.aim.figure]))
        return before != (self._best, self._reference, self._last)

    def restart(self, round_: int) -> None:
        """Begin to be patient again, with a round whose model came back; the best round stays the best."""
        self.ended, self._last = "", None
        if self._plan.awaited is not None:
            self._reference = Mark(round_, self._plan.awaited.worst)

    def forget(self) -> None:
        """Begin with nothing: the training starts anew."""
        self.ended = ""
        self._best = self._reference = self._last = None

    def _conclude(self, newest: Mark) -> None:
        """End the training if the newest round with the figure is too long after the last better one."""
        since, stopping = self._reference, self._plan.stopping
        if since is None or stopping is None or newest.round - since.round < stopping.patience:
            return
        self._last = newest
        by = f" by more than {stopping.min_delta:g}" if stopping.min_delta else ""
        count = newest.round - since.round
        rounds = f"{count} round{'s' if count > 1 else ''}"
        figure = stopping.aim.figure
        self.ended = f"{figure} has not improved on {since.value:g} of round {since.round}{by} in {rounds}"


def _advanced(
    mark: Mark | None, round_: int, figures: Mapping[str, float], aim: Aim, by: float = 0.0
) -> Mark | None:
    """Return the mark, or a new one on a later round if that is better."""
    value = figures.get(aim.figure)
    if value is None or (mark is not None and (round_ < mark.round or not aim.better(value, mark.value, by))):
        return mark
    return Mark(round_, value)


def _name(purpose: str, aim: Aim | None) -> str:
    return purpose if aim is None else f"{purpose} {aim.figure} {aim.mode}"
