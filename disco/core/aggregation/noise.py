"""Gaussian noise that hides something.

Generators are seeded with 128 bits from the operating system, anew for each use. numpy's are no cryptographic ones, and
its numbers are floating-point numbers: the noise is that of a finite set of numbers, not of all real ones
(Mironov 2012, "On significance of the least significant bits for differential privacy"). It is drawn and added in
float64, and only the sum is rounded to float32, which hides the last 29 bits in which that shows.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

#: Gives a key of 128 bits. Tests hand in one that always gives the same.
Keys: TypeAlias = Callable[[], int]


def fresh_key() -> int:
    """Return 128 random bits of the operating system."""
    return secrets.randbits(128)


def gaussian(key: int) -> np.random.Generator:
    """Return the generator that a key gives: Philox, which counts under a key, as block ciphers do."""
    return np.random.Generator(np.random.Philox(key=key))
