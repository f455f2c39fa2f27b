"""Takes tasks from folders and providers into the store."""

from __future__ import annotations

import time

from disco.core.submission import Submission
from disco.errors import InvalidTask, Problem
from disco.runtime.keeper import Keeper


async def adopt(keeper: Keeper, submission: Submission, source: str) -> None:
    """Keep a task that is new; one that the store knows goes on with its rounds, under its document as it is now.

    Raises:
        InvalidTask: its model is of another structure than its rounds on disk.
        StorageError: the disk refused.
    """
    task = submission.task
    stored = {known.task.id: known for known in await keeper.tasks()}
    if task.id not in stored:
        await keeper.add_task(task, submission.model, source, time.time())
        return
    kept = (await keeper.model(task.id)).structure
    if kept != submission.model.structure:
        found = f"{[list(shape) for shape in submission.model.structure]}"
        problem = f"has tensors {found}, but its rounds on disk have {[list(shape) for shape in kept]}"
        raise InvalidTask([Problem("model", f"{problem}: give the changed task another ID")])
    if stored[task.id].task.document != task.document:
        await keeper.update_task(task)
