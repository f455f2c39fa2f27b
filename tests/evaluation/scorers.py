"""Providers of the tiny task with scorers of all kinds; a module of its own, so that processes can import them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from disco.core.weights import Float32s
from disco.storage.catalogue import load_task

TINY = Path(__file__).parent.parent / "tasks" / "tiny"


class Scored:
    """The tiny task as ``scored``; its figure is the mean of all weights.

    Args:
        evaluation: the task's table.
    """

    def __init__(self, **evaluation: Any) -> None:
        self._evaluation = evaluation

    def get_task(self) -> Mapping[str, Any]:
        document = {**load_task(TINY).task.document, "taskID": "scored"}
        return {**document, "evaluation": self._evaluation} if self._evaluation else document

    def get_model(self) -> Path:
        return TINY

    def evaluate(self, weights: list[Float32s]) -> Mapping[str, Any]:
        return {"mean": np.mean([tensor.mean() for tensor in weights])}


class Resetting(Scored):
    """The same task, whose training starts anew when its last participant leaves."""

    def get_task(self) -> Mapping[str, Any]:
        return {**super().get_task(), "session": {"resetWhenEmpty": True}}


class Unscored(Scored):
    """The same task without a scorer."""

    evaluate = None  # type: ignore[assignment]


class Talkative(Scored):
    """Prints, and reads from its standard input."""

    def evaluate(self, weights: list[Float32s]) -> Mapping[str, Any]:
        sys.stdout.write("figures are coming\n")
        sys.stdout.flush()
        os.write(1, b"\xff" * 100)
        assert os.read(0, 1) == b""
        return super().evaluate(weights)


class Raising(Scored):
    """Fails on models whose mean is 1, and is right again on others."""

    def evaluate(self, weights: list[Float32s]) -> Mapping[str, Any]:
        if weights[0].mean() == 1:
            raise ZeroDivisionError("no examples left")
        return super().evaluate(weights)


class Crashing(Scored):
    """Kills its process on models whose mean is 1."""

    def evaluate(self, weights: list[Float32s]) -> Mapping[str, Any]:
        if weights[0].mean() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().evaluate(weights)


class Hanging(Scored):
    """Never comes back from models whose mean is 1."""

    def evaluate(self, weights: list[Float32s]) -> Mapping[str, Any]:
        if weights[0].mean() == 1:
            time.sleep(3600)
        return super().evaluate(weights)


class Hungry(Scored):
    """Needs more memory than there is."""

    def evaluate(self, weights: list[Float32s]) -> Mapping[str, Any]:
        np.ones(10**9)
        return super().evaluate(weights)


class Returning(Scored):
    """Returns what it was given.

    Args:
        answer: that.
    """

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer

    def evaluate(self, weights: list[Float32s]) -> Any:
        return self._answer


class Unmakable(Scored):
    """Can be pickled, but not made again."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (int, ("not a number",))


class Gated(Scored):
    """Waits with its answer until a file is there.

    Args:
        gate: the file.
    """

    def __init__(self, gate: Path, **evaluation: Any) -> None:
        super().__init__(**evaluation)
        self._gate = gate

    def evaluate(self, weights: list[Float32s]) -> Mapping[str, Any]:
        while not self._gate.exists():
            time.sleep(0.01)
        return super().evaluate(weights)
