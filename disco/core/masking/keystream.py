"""Masks: a seed of 32 bytes, expanded to as many integers modulo 2³² as a model has parameters.

Source: the ChaCha20 keystream (RFC 8439, section 2.4), nonce and counter from 0: a seed expands to one mask only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from disco.core.masking.words import Words32
from disco.core.weights import BLOCK

#: Masks that are expanded side by side; more are taken in several passes, so that ciphers take little memory.
BATCH = 256

_NONCE = bytes(16)
_ZEROS = bytes(4 * BLOCK)


class Mask(NamedTuple):
    """One mask, and whether it is added or subtracted."""

    seed: bytes
    added: bool


class Keystreams:
    """Several masks, expanded block by block. Memory: one block, whatever the model's size.

    Args:
        masks: at most `BATCH`, each of which takes a cipher.
    """

    def __init__(self, masks: Iterable[Mask]) -> None:
        self._streams = [
            (Cipher(ChaCha20(mask.seed, _NONCE), mode=None).encryptor(), mask.added) for mask in masks
        ]
        self._expanded = np.empty(BLOCK, dtype="<u4")

    def apply(self, block: Words32) -> None:
        """Add the next elements of every mask to a block of at most `BLOCK`, in place, modulo 2³²."""
        expanded = self._expanded[: block.size]
        octets, zeros = expanded.view(np.uint8).data, memoryview(_ZEROS)[: 4 * block.size]
        for stream, added in self._streams:
            stream.update_into(zeros, octets)
            (np.add if added else np.subtract)(block, expanded, out=block)


def apply_masks(total: Words32, masks: Iterable[Mask]) -> None:
    """Add masks to a whole model's integers, in place, modulo 2³²."""
    for batch in _batches(masks):
        streams = Keystreams(batch)
        for block in blocks(total):
            streams.apply(block)


def blocks(total: Words32) -> Iterator[Words32]:
    """Return views of consecutive `BLOCK`s; of the last, what is left."""
    for start in range(0, total.size, BLOCK):
        yield total[start : start + BLOCK]


def _batches(masks: Iterable[Mask]) -> Iterator[Sequence[Mask]]:
    left = iter(masks)
    while batch := list(islice(left, BATCH)):
        yield batch
