"""One participant of a demonstration, in a process of its own: ``python -m disco.demo.member …``.

It trains on its own part, exchanges, and after each round tells in one JSON line how accurate the shared model is on
the data that nobody trains on, beside a model that it trains alone, from the same start and for as long.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

import trio

from disco.core.names import Scheme
from disco.core.weights import Float32s
from disco.demo.subjects import SUBJECTS, cut
from disco.learning.architecture import Architecture
from disco.learning.examples import Examples, judge
from disco.learning.learner import Recipe, choose_learner
from disco.participant.address import Address
from disco.participant.http import fetch_model, fetch_task

#: Seconds that the server may take to answer over HTTP.
ANSWER_SECONDS = 30.0


class Exchange(Protocol):
    """Contributes to a round and returns its shared model."""

    async def __call__(
        self, weights: list[Float32s], samples: int, figures: Mapping[str, float], /
    ) -> list[Float32s]:
        """Hand over what was trained, on how many examples, and how well."""


@asynccontextmanager
async def taking_part(scheme: Scheme, url: str, task: str) -> AsyncIterator[Exchange]:
    """Join a task: as a federated participant, or as a peer, who tells nobody how well it does."""
    if scheme is Scheme.FEDERATED:
        from disco.participant.federated import Participant

        async with Participant(url, task) as participant:
            yield participant.exchange
    else:
        from disco.participant.peer import Peer

        async with Peer(url, task) as peer:

            async def exchange(
                weights: list[Float32s], samples: int, figures: Mapping[str, float]
            ) -> list[Float32s]:
                return await peer.exchange(weights)

            yield exchange


async def take_part(options: argparse.Namespace) -> None:
    """Train, exchange and tell, for so many rounds."""
    subject = SUBJECTS[options.subject]
    shares = cut(subject.load(), options.participants, options.seed)
    own, held_out = shares.parts[options.index], shares.held_out
    address = Address.parse(options.url)
    document = await fetch_task(address, subject.task, ANSWER_SECONDS)
    _, model = await fetch_model(address, subject.task, ANSWER_SECONDS)
    architecture = Architecture.of(model)
    learner = choose_learner(architecture, own, Recipe.of(document, options.seed))
    alone = choose_learner(architecture, own, Recipe.of(document, options.seed))

    def accuracy(weights: list[Float32s], examples: Examples = held_out) -> float:
        return judge(learner.outputs(weights, examples.inputs), examples.targets, architecture.activation)[
            "accuracy"
        ]

    weights, lone = model.weights.arrays(), model.weights.arrays()
    async with taking_part(subject.scheme, options.url, subject.task) as exchange:
        tell(event="joined", examples=len(own))
        # Nobody begins before everybody is there: the first rounds would be some participants' only.
        await trio.to_thread.run_sync(sys.stdin.readline)
        for number in range(1, options.rounds + 1):
            trained, loss = await trio.to_thread.run_sync(partial(learner.train, weights, subject.epochs))
            lone, _ = await trio.to_thread.run_sync(partial(alone.train, lone, subject.epochs))
            figures = {"loss": loss, "accuracy": accuracy(trained, own)}
            weights = await exchange(trained, len(own), figures)
            tell(event="round", round=number, loss=loss, together=accuracy(weights), alone=accuracy(lone))
        tell(event="done")
        # The others may still need the last message of this one.
        await trio.to_thread.run_sync(sys.stdin.readline)


def tell(**news: object) -> None:
    """Write one JSON line to whoever watches."""
    sys.stdout.write(json.dumps(news) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the command line and take part."""
    parser = argparse.ArgumentParser(prog="python -m disco.demo.member")
    parser.add_argument("--subject", required=True, choices=SUBJECTS)
    parser.add_argument("--url", required=True)
    for name in ("index", "participants", "rounds", "seed"):
        parser.add_argument(f"--{name}", required=True, type=int)
    trio.run(take_part, parser.parse_args())


if __name__ == "__main__":
    main()
