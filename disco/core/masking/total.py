"""The server's sum of masked contributions, and how the masks are taken out of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from disco.core.masking.keys import KEY_BYTES, mask_seed, public_key, seal_of
from disco.core.masking.keystream import Mask, apply_masks, blocks
from disco.core.masking.quantization import Grid, Walk
from disco.core.masking.shamir import join
from disco.core.masking.words import Unmask, Words32
from disco.core.names import ParticipantID
from disco.core.weights import BLOCK, Weights
from disco.errors import ProtocolViolation


class MaskedTotal:
    """Σ y_u mod 2³². Memory: 4 bytes a parameter, whatever the number of members."""

    def __init__(self, parameters: int) -> None:
        self._sum: Words32 = np.zeros(parameters, dtype=np.uint32)

    def add(self, masked: Words32) -> None:
        """Add one masked contribution, of the model's size."""
        np.add(self._sum, masked, out=self._sum)

    def unmask(self, plan: Unmask) -> Weights:
        """Take the masks out, and return the base moved by the mean change, in a buffer of its own.

        Secrets are checked against what their owners told of them before, so that wrong shares give no wrong model.

        Raises:
            ProtocolViolation: the shares of a secret do not fit; the sum is unchanged.
        """
        masks = [*_own_masks(plan), *_pair_masks(plan)]
        apply_masks(self._sum, masks)
        grid, count = Grid(plan.range, len(plan.members)), len(plan.survivors)
        moved = np.empty(self._sum.size, dtype=np.float32)
        base, before, start = Walk(plan.base), np.empty(BLOCK), 0
        for block in blocks(self._sum):
            from_ = before[: block.size]
            base.read(from_)
            np.add(from_, grid.mean(block, count), out=moved[start : start + block.size])
            start += block.size
        return Weights.from_flat(moved, plan.base.shapes)


def _own_masks(plan: Unmask) -> Iterator[Mask]:
    """Return the self-masks of those who delivered, to be subtracted."""
    for name in plan.survivors:
        seed = _opened(name, plan.seeds[name], plan)
        if seal_of(seed) != plan.members[name].seal:
            raise ProtocolViolation(f"the shares of member {_place(name, plan)}'s seed do not fit its seal")
        yield Mask(seed, added=False)


def _pair_masks(plan: Unmask) -> Iterator[Mask]:
    """Return what those who delivered have added for those who dropped out, to be undone."""
    places = {name: place for place, name in enumerate(plan.members)}
    for dropped, shares in plan.mask_keys.items():
        secret = _opened(dropped, shares, plan)
        if public_key(secret) != plan.members[dropped].mask_key:
            raise ProtocolViolation(
                f"the shares of member {_place(dropped, plan)}'s mask key do not fit its public key"
            )
        for name in plan.survivors:
            seed = mask_seed(secret, plan.members[name].mask_key, plan.transcript)
            # Who has the lower place has added it.
            yield Mask(seed, added=places[name] > places[dropped])


def _opened(owner: ParticipantID, shares: Mapping[ParticipantID, bytes], plan: Unmask) -> bytes:
    places = {name: place for place, name in enumerate(plan.members, 1)}
    chosen = dict(list(shares.items())[: plan.threshold])
    try:
        return join({places[holder]: share for holder, share in chosen.items()}, KEY_BYTES)
    except ValueError as error:
        raise ProtocolViolation(
            f"the shares of member {_place(owner, plan)}'s secret do not fit together"
        ) from error


def _place(name: ParticipantID, plan: Unmask) -> int:
    return list(plan.members).index(name) + 1
