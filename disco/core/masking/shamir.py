"""Shamir's secret sharing: any `threshold` shares give a secret back, and fewer tell nothing about it.

Source: Shamir, How to Share a Secret, CACM 1979. The field is that of the Mersenne prime 2⁵²¹ − 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

PRIME = 2**521 - 1
#: Bytes of one share, big-endian.
SHARE_BYTES = 66
#: Bytes of a secret at most, so that it is below the prime.
SECRET_BYTES = 64

#: Returns as many random bytes as asked for.
Entropy = Callable[[int], bytes]


def split(secret: bytes, threshold: int, holders: int, entropy: Entropy) -> list[bytes]:
    """Share a secret: the value at 0 of a random polynomial of degree `threshold` − 1.

    Args:
        secret: at most `SECRET_BYTES`.
        threshold: shares that give it back, from 1 to `holders`.
        holders: how many shares; the polynomial's values at 1 … `holders`.
        entropy: gives the coefficients.

    Raises:
        ValueError: the secret is too long, or the threshold is out of range.
    """
    if len(secret) > SECRET_BYTES or not 1 <= threshold <= holders:
        raise ValueError(f"{len(secret)} bytes cannot be shared {threshold} of {holders}")
    random = (int.from_bytes(entropy(SHARE_BYTES), "big") & PRIME for _ in range(threshold - 1))
    polynomial = [int.from_bytes(secret, "big"), *random]
    return [_value(polynomial, place).to_bytes(SHARE_BYTES, "big") for place in range(1, holders + 1)]


def _value(polynomial: Sequence[int], place: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * place + coefficient) % PRIME
    return value


@lru_cache(maxsize=8)
def coefficients(places: tuple[int, ...]) -> tuple[int, ...]:
    """Return what shares at different `places`, from 1, are multiplied with, so that they sum up to the secret.

    They are remembered, as all secrets of a round are opened with the shares of the same members.

    Source: Lagrange interpolation at 0: λ_j = Π_{m≠j} m / (m − j).
    """
    found = []
    for place in places:
        above, below = 1, 1
        for other in places:
            if other != place:
                above = above * other % PRIME
                below = below * (other - place) % PRIME
        found.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(found)


def join(shares: Mapping[int, bytes], length: int) -> bytes:
    """Give a secret of `length` bytes back from shares by their places; at least as many as the threshold was.

    Raises:
        ValueError: they are not of one secret of this length. That they are is not certain otherwise.
    """
    factors = coefficients(tuple(shares))
    secret = sum(
        factor * int.from_bytes(share, "big") for factor, share in zip(factors, shares.values(), strict=True)
    )
    try:
        return (secret % PRIME).to_bytes(length, "big")
    except OverflowError as error:
        raise ValueError(f"these shares are of no secret of {length} bytes") from error
