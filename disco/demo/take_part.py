"""One participant of a demonstration, in a process of its own: ``python -m disco.demo.take_part PLAN``.

PLAN is a `Plan` as JSON. It writes one JSON object a line: ``{"joined": examples}`` once it is there, and then
waits for a line on its standard input before it trains, so that all begin with the same round; a `Score` for each
round; and ``{"error": sentence}`` where it cannot go on.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import trio

from disco.core.events import Scheme
from disco.core.weights import Float32s
from disco.demo.parts import deal
from disco.errors import DiscoError
from disco.learning.architecture import Architecture
from disco.learning.examples import Examples, judge
from disco.learning.learner import Learner, Recipe
from disco.learning.sklearn_learner import SklearnLearner
from disco.participant import Participant
from disco.participant.address import Address
from disco.participant.http import fetch_model, fetch_task

#: Seconds that each answer of the server may take.
TIMEOUT_SECONDS = 30.0

Exchange: TypeAlias = Callable[[Sequence[Float32s], int], Awaitable[list[Float32s]]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one participant is to do.

    Args:
        url: the server's.
        index: which part of the data is its own.
        participants: how many parts there are.
    """

    url: str
    task: str
    scheme: Scheme
    index: int
    participants: int
    rounds: int
    seed: int


@dataclass(frozen=True, slots=True)
class Score:
    """Accuracies on the examples that nobody trained on.

    Args:
        round: how many rounds have closed since the demonstration began; 0 is before training.
        together: of the shared model.
        alone: of the model that this participant has trained by itself, in as many passes over its own part.
    """

    round: int
    together: float
    alone: float


@dataclass(slots=True, eq=False)
class Pupil:
    """Trains a model together with others, and another one alone, both from the same beginning."""

    together: Learner
    alone: Learner
    held_out: Examples
    activation: str
    epochs: int

    def lesson(
        self, shared: Sequence[Float32s], own: Sequence[Float32s]
    ) -> tuple[list[Float32s], list[Float32s]]:
        """Train both models for one round; blocks."""
        return self.together.train(shared, self.epochs)[0], self.alone.train(own, self.epochs)[0]

    def accuracy(self, weights: Sequence[Float32s]) -> float:
        """Return how much of what was held out a model gets right."""
        outputs = self.together.outputs(weights, self.held_out.inputs)
        return judge(outputs, self.held_out.targets, self.activation)["accuracy"]


async def take_part(plan: Plan) -> None:
    """Join, wait for the word to begin, and play every round.

    Raises:
        DiscoError: the server or the other peers are gone, or refuse.
    """
    address = Address.parse(plan.url)
    document = await fetch_task(address, plan.task, TIMEOUT_SECONDS)
    _, model = await fetch_model(address, plan.task, TIMEOUT_SECONDS)
    parts = deal(plan.task, plan.participants, plan.seed)
    own = parts.own[plan.index]
    architecture = Architecture.of(model)
    recipe = Recipe.of(document, plan.seed * 1000 + plan.index)
    pupil = Pupil(
        SklearnLearner(architecture, own, recipe),
        SklearnLearner(architecture, own, recipe),
        parts.held_out,
        architecture.activation,
        int(document["trainingInformation"]["roundDuration"]),
    )
    async with _company(plan) as exchange:
        tell({"joined": len(own)})
        await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
        await play(pupil, exchange, model.weights.arrays(), len(own), plan.rounds)


async def play(
    pupil: Pupil, exchange: Exchange, initial: Sequence[Float32s], samples: int, rounds: int
) -> None:
    """Train and exchange, round after round, and tell every score."""
    shared: Sequence[Float32s] = initial
    own: Sequence[Float32s] = initial
    for number in range(rounds + 1):
        tell(dataclasses.asdict(Score(number, pupil.accuracy(shared), pupil.accuracy(own))))
        if number < rounds:
            trained, own = await trio.to_thread.run_sync(pupil.lesson, shared, own)
            shared = await exchange(trained, samples)


@asynccontextmanager
async def _company(plan: Plan) -> AsyncIterator[Exchange]:
    """Join the others; yields what exchanges weights with them."""
    if plan.scheme is Scheme.FEDERATED:
        async with Participant(plan.url, plan.task) as participant:
            yield participant.exchange
        return
    from disco.participant import Peer

    async with Peer(plan.url, plan.task) as peer:

        async def exchange(weights: Sequence[Float32s], samples: int) -> list[Float32s]:
            mean: list[Float32s] = await peer.exchange(weights)
            return mean

        yield exchange


def tell(said: object) -> None:
    """Write one line for whoever started this process."""
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Take part as the first argument says."""
    fields = json.loads(sys.argv[1])
    plan = Plan(**{**fields, "scheme": Scheme(fields["scheme"])})
    failed = False
    try:
        trio.run(take_part, plan)
    except* DiscoError as group:
        failed = True
        tell({"error": str(group.exceptions[0])})
    except* KeyboardInterrupt:
        failed = True
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
