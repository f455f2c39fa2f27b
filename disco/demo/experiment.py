"""Which demonstrations there are, and how one is to be played."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from disco.core.events import Scheme


@dataclass(frozen=True, slots=True)
class Experiment:
    """A task that can be demonstrated.

    Args:
        task: its ID, and the name under which scikit-learn has its data.
        title: over the picture.
        scheme: how its participants meet.
        rounds: unless told otherwise.
        seed: unless told otherwise.
    """

    task: str
    title: str
    scheme: Scheme
    rounds: int
    seed: int


EXPERIMENTS: Mapping[str, Experiment] = {
    experiment.task: experiment
    for experiment in (
        Experiment("breast_cancer", "Breast cancer, federated", Scheme.FEDERATED, rounds=15, seed=6),
        Experiment("digits", "Handwritten digits, peer to peer", Scheme.DECENTRALIZED, rounds=10, seed=0),
    )
}

#: The shared model is good enough at this accuracy, or when it beats every participant's own.
ENOUGH = 0.94


@dataclass(frozen=True, slots=True)
class Choices:
    """How a demonstration is played.

    Args:
        experiment: which one.
        participants: how many, at least 2.
        rounds: how many.
        seed: of the parts of the data and of the order in which examples are seen.
    """

    experiment: Experiment
    participants: int
    rounds: int
    seed: int
