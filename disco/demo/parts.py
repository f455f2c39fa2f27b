"""The data of a demonstration: real, from inside scikit-learn, in a part for each participant.

A third is held out and trained on by nobody. Of the rest, half is dealt evenly; the other half is dealt class by
class in uneven shares, so that participants see the classes in different proportions. Parts are disjoint.

Inputs are scaled to [-1, 1] with ranges that are published with the data, which every participant can know without
seeing the examples of another: the feature ranges in the description of the breast cancer data, and the 17 grey
levels of the digits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split

from disco.core.weights import Float32s
from disco.errors import SettingsError
from disco.learning.examples import Examples

HELD_OUT = 0.3
DEALT_EVENLY = 0.5
#: Concentration of the shares of each class: 1 is any proportion, 0 is all to one.
CONCENTRATION = 0.3
GREY_LEVELS = 16

#: A line of the table of ranges in the description: name, lowest, highest.
_RANGE = re.compile(r"^[ \w]+ \([\w ]+\):\s+([\d.]+)\s+([\d.]+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Parts:
    """A data set, dealt.

    Args:
        own: what each participant has.
        held_out: what nobody trains on.
    """

    own: Sequence[Examples]
    held_out: Examples


def deal(task: str, participants: int, seed: int) -> Parts:
    """Load a task's data and deal it; the same for the same arguments, in every process.

    Raises:
        SettingsError: there are too many participants for a part each.
    """
    inputs, labels, targets = _LOADERS[task]()
    rows = np.arange(len(labels))
    to_train, held_out = train_test_split(rows, test_size=HELD_OUT, stratify=labels, random_state=seed)
    hands = _deal_rows(to_train, labels, participants, seed)
    if min(map(len, hands)) < 2:
        raise SettingsError(f"--participants {participants} is too many for {len(to_train)} examples")
    own = tuple(Examples(inputs[hand], targets[hand]) for hand in hands)
    return Parts(own, Examples(inputs[held_out], targets[held_out]))


def _deal_rows(
    rows: NDArray[np.int64], labels: NDArray[np.int64], participants: int, seed: int
) -> list[NDArray[np.int64]]:
    """Deal rows class by class: some evenly, the others in shares that a Dirichlet distribution draws."""
    chance = np.random.default_rng(seed)
    hands: list[list[NDArray[np.int64]]] = [[] for _ in range(participants)]
    for label in np.unique(labels):
        deck = chance.permutation(rows[labels[rows] == label])
        even = int(len(deck) * DEALT_EVENLY)
        shares = chance.dirichlet([CONCENTRATION] * participants)
        cuts = (np.cumsum(shares)[:-1] * (len(deck) - even)).astype(int)
        for index, uneven in enumerate(np.split(deck[even:], cuts)):
            hands[index] += [deck[:even][index::participants], uneven]
    return [np.concatenate(hand) for hand in hands]


_Data = tuple[Float32s, NDArray[np.int64], Float32s]


def _breast_cancer() -> _Data:
    bunch = load_breast_cancer()
    ranges = np.array(_RANGE.findall(bunch.DESCR), dtype=np.float64)
    if ranges.shape != (bunch.data.shape[1], 2):
        raise SettingsError("this scikit-learn describes the ranges of the breast cancer data in another way")
    low, high = ranges.T
    inputs = (2 * (bunch.data - low) / (high - low) - 1).astype(np.float32)
    return inputs, bunch.target, bunch.target[:, None].astype(np.float32)


def _digits() -> _Data:
    bunch = load_digits()
    inputs = (2 * bunch.images[..., None] / GREY_LEVELS - 1).astype(np.float32)
    return inputs, bunch.target, np.eye(10, dtype=np.float32)[bunch.target]


_LOADERS = {"breast_cancer": _breast_cancer, "digits": _digits}
