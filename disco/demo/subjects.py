"""What can be demonstrated: tasks whose data ships with scikit-learn.

The data is cut into a part that nobody trains on and one part for each participant. Parts differ as those of
hospitals do: each has its own mixture of labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits

from disco.core.names import Scheme
from disco.learning.examples import Examples

#: The share of the data that nobody trains on.
HELD_OUT = 0.25
#: How alike the parts' mixtures of labels are: the concentration of a Dirichlet distribution. Source: Hsu et al.
#: 2019 (arXiv 1909.06335), section 3.1.
CONCENTRATION = 0.6


@dataclass(frozen=True, slots=True)
class Subject:
    """One demonstration.

    Args:
        task: the bundled task's ID.
        scheme: in which it is trained.
        load: returns all examples.
        rounds: unless told otherwise.
        epochs: over a participant's own part before each exchange.
        goal: an accuracy that is a success however well anybody does alone.
    """

    task: str
    scheme: Scheme
    load: Callable[[], Examples]
    rounds: int
    epochs: int
    goal: float


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """The data, cut: one part for each participant, and what nobody trains on."""

    parts: Sequence[Examples]
    held_out: Examples


def cut(examples: Examples, participants: int, seed: int) -> Shares:
    """Cut examples into parts with different mixtures of labels; the same for the same seed.

    Args:
        examples: with targets of one column of 0 and 1, or one-hot.
        participants: at least 1.
        seed: of the cut.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(examples))
    held = round(len(examples) * HELD_OUT)
    rows: list[list[int]] = [[] for _ in range(participants)]
    labels = _labels(examples)
    for label in np.unique(labels):
        of_label = [int(row) for row in order[held:] if labels[row] == label]
        weights = random.dirichlet(np.full(participants, CONCENTRATION))
        # Everybody has a few of each label, so that each can learn something alone.
        shares = 0.15 / participants + 0.85 * weights
        edges = np.round(np.cumsum(shares)[:-1] * len(of_label)).astype(int)
        for part, chosen in zip(rows, np.split(np.array(of_label), edges), strict=True):
            part.extend(int(row) for row in chosen)
    return Shares([_take(examples, part) for part in rows], _take(examples, order[:held].tolist()))


def breast_cancer() -> Examples:
    """The 569 tumours of scikit-learn's ``load_breast_cancer``, each measurement scaled to [-1, 1].

    The scale is that of the ranges which the data set's description publishes, so that every participant can know it
    without showing anything of its own.
    """
    data = load_breast_cancer()
    ranges = re.findall(r"\((?:mean|standard error|worst)\):\s+([\d.]+)\s+([\d.]+)", data.DESCR)
    low, high = np.array(ranges, dtype=np.float64).T
    inputs = 2 * (data.data - low) / (high - low) - 1
    return Examples(inputs.astype(np.float32), data.target.astype(np.float32)[:, None])


def digits() -> Examples:
    """The 1,797 digits of scikit-learn's ``load_digits``: 8 × 8 pixels from 0 to 16, scaled to [0, 1]."""
    data = load_digits()
    return Examples(
        (data.images[..., None] / 16).astype(np.float32), np.eye(10, dtype=np.float32)[data.target]
    )


SUBJECTS = {
    "breast_cancer": Subject(
        "breast_cancer", Scheme.FEDERATED, breast_cancer, rounds=15, epochs=4, goal=0.94
    ),
    "digits": Subject("digits", Scheme.DECENTRALIZED, digits, rounds=12, epochs=4, goal=0.94),
}


def _labels(examples: Examples) -> NDArray[np.int64]:
    targets = examples.targets
    return targets.argmax(axis=1) if targets.shape[1] > 1 else targets[:, 0].astype(np.int64)


def _take(examples: Examples, rows: Sequence[int]) -> Examples:
    chosen = np.array(sorted(rows), dtype=np.int64)
    return Examples(examples.inputs[chosen], examples.targets[chosen])
