"""The process that evaluates a task's models: ``python -m disco.learning.scoring``, started by `disco.runtime.scorer`.

It is handed a pickled scorer, anything with a method ``evaluate(weights) -> dict``, and then model after model. What a
scorer does wrong is told in a sentence, with its traceback on standard error; what it prints goes there too.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import msgspec
import numpy as np

from disco.core.evaluation.asking import LENGTH_BYTES, Answer, framed
from disco.core.weights import Float32s, Weights, count

#: Times of what an evaluation may take after which its process ends by itself.
ORPHAN_FACTOR = 2.0


def main() -> None:
    """Serve whoever started this process, until it closes its end."""
    questions, answers = _take_pipes()
    hello = _read(questions)
    if hello is None:
        return
    try:
        limit_memory(int(hello["memory"]))
        scorer = pickle.loads(hello["scorer"])  # from the server that started us
        evaluate: Callable[[list[Float32s]], Mapping[Any, Any]] = scorer.evaluate
    except Exception as error:  # code of others may fail in any way
        _write(answers, Answer(error=f"the scorer cannot be made in its process: {_told(error)}"))
        return
    _write(answers, Answer())
    while (question := _read(questions)) is not None:
        weights = _read_weights(questions, question["shapes"])
        # The server stops us long before; where it was killed, nobody else would.
        signal.setitimer(signal.ITIMER_REAL, ORPHAN_FACTOR * float(hello["seconds"]))
        said = answer(evaluate, weights)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(answers, said)


def answer(evaluate: Callable[[list[Float32s]], Mapping[Any, Any]], weights: list[Float32s]) -> Answer:
    """Evaluate a model, and make figures of what comes back, or a sentence of why it cannot be."""
    try:
        made: object = evaluate(weights)
        if not isinstance(made, Mapping):
            return Answer(
                error=f"evaluate() returned {type(made).__name__}, and not a dict of numbers by name"
            )
        return Answer({str(name): float(value) for name, value in made.items()})
    except MemoryError:
        return Answer(error="evaluate() needs more memory than limits.evaluation_bytes")
    except Exception as error:  # code of others may fail in any way
        return Answer(error=f"evaluate() raised {_told(error)}")


def limit_memory(limit_bytes: int) -> None:
    """Let this process have so much memory of its own, and no more."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep the pipes for messages: nothing that a scorer reads or prints gets between them."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return questions, answers


def _read(questions: BinaryIO) -> dict[str, Any] | None:
    head = questions.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    found: dict[str, Any] = msgspec.msgpack.decode(questions.read(int.from_bytes(head, "little")))
    return found


def _read_weights(questions: BinaryIO, shapes: list[list[int]]) -> list[Float32s]:
    structure = tuple(map(tuple, shapes))
    flat = np.empty(count(structure), dtype=np.float32)
    questions.readinto(flat.data.cast("B"))  # type: ignore[attr-defined]  # a buffered reader has it
    return Weights.from_flat(flat, structure).arrays()


def _write(answers: BinaryIO, said: Answer) -> None:
    answers.write(framed(msgspec.msgpack.encode(said)))
    answers.flush()


def _told(error: Exception) -> str:
    """Put an error in words for the server's log and API; its traceback is for whoever wrote the scorer."""
    traceback.print_exception(error, file=sys.stderr)
    sys.stderr.flush()
    return f"{type(error).__name__}: {error!s:.300}"


if __name__ == "__main__":
    main()
