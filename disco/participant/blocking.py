"""A participant for code that knows no Trio: scripts, notebooks, threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import trio

from disco.core.weights import Float32s
from disco.errors import ConnectionLost
from disco.participant.federated import Participant
from disco.participant.trio_thread import TrioThread


class BlockingParticipant:
    """A `Participant` whose methods block. Its Trio loop lives in a thread of its own, beside any other event loop.

        with BlockingParticipant(url, task) as participant:
            weights = participant.exchange(train(participant.weights))

    In a notebook, `open` and `close` stand for the two ends of the block. Ctrl-C, or a notebook's interrupt, ends the
    call that waits, and the participant stays usable.

    Args:
        url: the server's.
        task: the task's ID.
        options: as `Participant` takes them; `on_news` is called in the loop's thread.
    """

    def __init__(self, url: str, task: str, **options: Any) -> None:
        """Prepare; nothing is sent before `open`.

        Raises:
            SettingsError: `url` is no address, or an option has a value that cannot be used.
        """
        # No partial: its repr would show the token.
        self._make: Callable[[], Participant] = lambda: Participant(url, task, **options)
        self._participant = self._make()
        self._thread: TrioThread | None = None

    @property
    def task(self) -> Mapping[str, Any]:
        """The task's JSON document, as the server gave it."""
        return self._participant.task

    @property
    def weights(self) -> list[Float32s]:
        """A copy of the current global model: float32 arrays in the model's order."""
        return self._participant.weights

    @property
    def round(self) -> int:
        """The current round, from 0."""
        return self._participant.round

    @property
    def participants(self) -> int:
        """How many are present, this one included; 0 while unknown."""
        return self._participant.participants

    @property
    def identity(self) -> str | None:
        """The ID under which this one takes part; None before it has one."""
        return self._participant.identity

    @property
    def ended(self) -> str:
        """Why the training has ended, in the server's words; empty while it goes on. `weights` is its last model."""
        return self._participant.ended

    def open(self) -> BlockingParticipant:
        """Join the task and get its current model.

        Raises:
            ConnectionLost: no server answers.
            Refused: the server has no such task, or refuses; in its own words.
            RuntimeError: it is open already.
        """
        if self._thread is not None:
            raise RuntimeError("this participant is open already")
        self._participant = self._make()
        self._thread = TrioThread("disco-participant")
        try:
            self._thread.call(partial(self._thread.nursery.start, self._stay))
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Leave the task. Closing twice is allowed."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()

    def __enter__(self) -> BlockingParticipant:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def exchange(
        self,
        weights: Sequence[Any],
        samples: float | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> list[Float32s]:
        """Contribute to the current round, wait until it has closed, and return the new global model.

        See `Participant.exchange`.

        Raises:
            TrainingEnded: it had ended when the call before this one returned, or when this was opened.
            Refused: the server does not take it, for the reason it gives; another one can be exchanged.
            ConnectionLost: the server has been gone for longer than the participant's patience, or this is closed.
        """
        if self._thread is None:
            raise ConnectionLost("this participant is not open")
        return self._thread.call(partial(self._participant.exchange, weights, samples, metrics))

    async def _stay(self, task_status: trio.TaskStatus[None]) -> None:
        """Take part until the loop is stopped."""
        async with self._participant:
            task_status.started()
            await trio.sleep_forever()
