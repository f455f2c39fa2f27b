"""Which tasks have a scorer, and how it is made ready for a process of its own."""

from __future__ import annotations

import pickle

from disco.core.evaluation import plan_of
from disco.core.names import TaskID
from disco.core.submission import Submission
from disco.core.task import Task
from disco.errors import InvalidTask, Problem
from disco.metrics import Metrics
from disco.runtime.evaluation import Evaluator
from disco.runtime.scorer import Bounds
from disco.settings import Limits


class Scorers:
    """Scorers by task, pickled; they come with folders and providers, and are not kept on disk."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        """Begin with none. `limits` bound their processes."""
        self._bounds = Bounds(limits.evaluation, limits.evaluation_bytes)
        self._metrics = metrics
        self._pickled: dict[TaskID, bytes] = {}

    def take(self, submission: Submission) -> None:
        """Remember a task's scorer, if it has one.

        Raises:
            InvalidTask: the task names held-out data and has no folder, or its scorer cannot be sent to a process.
        """
        task = submission.task
        if submission.scorer is not None:
            self._pickled[task.id] = pickled(submission.scorer)
        elif (name := plan_of(task.document).data) is not None:
            why = f"names {name!r} in the task's folder, and this task has none: serve it from a folder of tasks"
            raise InvalidTask([Problem("task.evaluation.data", why)])

    def require_same_data(self, before: Task, after: Task) -> None:
        """Check that a changed document names the held-out data that the task has.

        Raises:
            InvalidTask: it names other data.
        """
        if plan_of(before.document).data != plan_of(after.document).data:
            why = "names other data than before: change it in the task's folder, and start the server again"
            raise InvalidTask([Problem("task.evaluation.data", why)])

    def forget(self, task: TaskID) -> None:
        """Forget a task's scorer."""
        self._pickled.pop(task, None)

    def evaluator(self, task: Task) -> Evaluator | None:
        """Make what evaluates a task's rounds; None if it has no scorer."""
        scorer = self._pickled.get(task.id)
        return None if scorer is None else Evaluator(task.id, scorer, self._bounds, self._metrics)


def pickled(scorer: object) -> bytes:
    """Make a scorer ready for a process of its own.

    Raises:
        InvalidTask: it cannot be, and the message says why.
    """
    kind = type(scorer)
    if kind.__module__ == "__main__":
        why = f"runs in a process of its own, where the main program's {kind.__qualname__} is not: put it in a module"
        raise InvalidTask([Problem("evaluate()", why)])
    try:
        return pickle.dumps(scorer)
    except Exception as error:  # code of others may fail in any way
        why = f"runs in a process of its own, and its {kind.__qualname__} cannot be pickled"
        raise InvalidTask([Problem("evaluate()", f"{why}: {error}")]) from error
