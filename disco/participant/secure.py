"""Secure aggregation by additive secret sharing: peers learn the mean, and of each other only random shares.

For peers 1 … n with weights wᵢ, peer i draws a random share sᵢⱼ for every other peer j and keeps what is left:

    sᵢᵢ = wᵢ − Σ_{j≠i} sᵢⱼ        pⱼ = Σᵢ sᵢⱼ        mean = (Σⱼ pⱼ) / n = (Σᵢ wᵢ) / n

Shares sᵢⱼ go to j alone, partial sums pⱼ go to everybody. The shares are uniform floats in ±`max_share`, as in
DISCO's clients, and not integers of a finite group: they hide a weight well only where it is small beside
`max_share`, and rounding to float32 costs about `max_share` · n · 6e-8 of precision.

Source: additive secret sharing, as in Cramer, Damgård and Nielsen, "Secure Multiparty Computation and Secret
Sharing", 2015, section 1.3 (there over a finite field); DISCO v2 wire, `Shares` and `PartialSums`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from disco.core.weights import Structure, Weights, count

#: One peer's weights less the shares that it gave away: 1-D, all tensors. It never travels, so it keeps its bits.
Kept: TypeAlias = NDArray[np.float64]

#: Peers below which each learns the other's weights from the mean and its own.
SMALLEST_ROUND = 3


@dataclass(frozen=True, slots=True)
class SecureAggregation:
    """How to aggregate securely.

    Args:
        max_share: random shares are uniform in ±this; above 0, and the same for all peers of a task.
        smallest_round: a round of fewer peers is refused. Two learn each other's weights from their mean:
            2 is for tests.

    Raises:
        ValueError: a number is out of range.
    """

    max_share: float = 100.0
    smallest_round: int = SMALLEST_ROUND

    def __post_init__(self) -> None:
        if not 0 < self.max_share < math.inf:
            raise ValueError(f"max_share must be above 0, not {self.max_share}")
        if self.smallest_round < 1:
            raise ValueError(f"smallest_round must be at least 1, not {self.smallest_round}")


def random_share(structure: Structure, max_share: float) -> Weights:
    """Draw weights uniformly from [−`max_share`, `max_share`), 32 random bits each.

    Source: the ChaCha20 keystream (RFC 8439, section 2.4) under a key that the operating system draws for this
    share alone and nobody keeps.
    """
    stream = Cipher(ChaCha20(os.urandom(32), os.urandom(16)), mode=None).encryptor()
    size = count(structure)
    bits = np.frombuffer(stream.update(bytes(4 * size)), dtype="<u4")
    # Finer than float32 nearly everywhere, so that no pattern of the shares lets the last bits of weights through.
    uniform = bits * (2.0 * max_share / (1 << 32)) - max_share
    return Weights.from_flat(uniform.astype(np.float32), structure)


def split(weights: Weights, others: int, max_share: float) -> tuple[Kept, list[Weights]]:
    """Share `weights` with `others` peers.

    Returns:
        What is left to keep, in float64, and a share for each of the others.
    """
    shares = [random_share(weights.shapes, max_share) for _ in range(others)]
    kept = weights.flat.astype(np.float64)
    for share in shares:
        kept -= share.flat
    return kept, shares


def partial_sum(kept: Kept, received: Sequence[Weights]) -> Weights:
    """Sum what one peer holds; rounded once, as it travels in float32.

    Args:
        kept: what it kept of its own weights.
        received: a share from each of the others, at least one, all of one structure.
    """
    total = kept.copy()
    for share in received:
        total += share.flat
    return Weights.from_flat(total.astype(np.float32), received[0].shapes)
