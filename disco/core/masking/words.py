"""What is said in a masked round: events from members, messages to them, and what the session wants done.

They are part of the vocabulary of `disco.core` (events, messages, effects). Other dialects have no words for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from disco.core.names import ParticipantID
from disco.core.weights import Weights

#: Integers modulo 2³², one a parameter: 1-D, all tensors of a model in its order.
Words32: TypeAlias = NDArray[np.uint32]


class MaskedEvent(Struct, frozen=True):
    """What happens in masked rounds only."""


class MaskedMessage(Struct, frozen=True):
    """What is said to members of masked rounds only."""


class MaskedEffect(Struct, frozen=True):
    """What only masked rounds want done."""


class Keys(Struct, frozen=True):
    """The public part of a member's secrets, made for one attempt at a round.

    Args:
        mask_key: X25519 public key, 32 bytes; pairwise masks come from it.
        share_key: X25519 public key, 32 bytes; shares are sealed with it.
        seal: SHA-256 of its self-mask's seed, so that a wrong reconstruction shows.
    """

    mask_key: bytes
    share_key: bytes
    seal: bytes


# ── Events: from members ─────────────────────────────────────────────────────────────────────────────────


class KeysAdvertised(MaskedEvent, frozen=True):
    """A participant has a contribution to `round`, and tells the keys that it will mask it with."""

    participant: ParticipantID
    round: int
    keys: Keys


class SharesSent(MaskedEvent, frozen=True):
    """A member gives every other one a share of its secrets, sealed for that one, by its place."""

    participant: ParticipantID
    attempt: int
    shares: Mapping[ParticipantID, bytes]


class MaskedContributed(MaskedEvent, frozen=True):
    """A member sent its masked contribution; `masked` is a view into the message."""

    participant: ParticipantID
    attempt: int
    masked: Words32


class SharesRevealed(MaskedEvent, frozen=True):
    """A member answered `Survivors` with the shares that it holds.

    Args:
        seeds: of the self-masks of those who delivered, by their places.
        mask_keys: of the mask keys of those who dropped out.
    """

    participant: ParticipantID
    attempt: int
    seeds: Mapping[ParticipantID, bytes]
    mask_keys: Mapping[ParticipantID, bytes]


# ── Events: from the runtime, answering an effect ────────────────────────────────────────────────────────


class MaskedFolded(MaskedEvent, frozen=True):
    """`FoldMasked` is done."""

    contribution: MaskedContributed


class Unmasked(MaskedEvent, frozen=True):
    """`Unmask` succeeded: the global model moved by the mean of the contributions."""

    mean: Weights


class UnmaskingFailed(MaskedEvent, frozen=True):
    """`Unmask` found shares that do not fit; nothing has been learned."""

    reason: str


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────


class Roster(MaskedMessage, frozen=True):
    """Who the members of this attempt are, by their places from 1: all that they know of each other."""

    round: int
    attempt: int
    members: Mapping[ParticipantID, Keys]


class SharesRelayed(MaskedMessage, frozen=True):
    """The sealed shares for the receiver, by the sender's place: with the receiver, these are who masks."""

    attempt: int
    shares: Mapping[ParticipantID, bytes]


class Survivors(MaskedMessage, frozen=True):
    """Whose masked contributions are in the sum, by their places."""

    attempt: int
    survivors: tuple[ParticipantID, ...]


class RoundAbandoned(MaskedMessage, frozen=True):
    """This attempt at the round is over without a result; whoever has a contribution advertises new keys for it."""

    round: int
    reason: str


# ── Effects ──────────────────────────────────────────────────────────────────────────────────────────────


class BeginSum(MaskedEffect, frozen=True):
    """Begin a sum of masked contributions, of so many parameters."""

    parameters: int


class FoldMasked(MaskedEffect, frozen=True):
    """Add a masked contribution to the sum. Answered by `MaskedFolded`."""

    contribution: MaskedContributed


class Unmask(MaskedEffect, frozen=True):
    """Take the masks out of the sum. Answered by `Unmasked` or `UnmaskingFailed`.

    Args:
        base: the global model, from which the contributions are changes.
        range: the largest change that is told apart, see `Grid`.
        threshold: shares that open a secret.
        transcript: see `transcript`.
        members: all of the attempt, in the order of their indices.
        survivors: whose contributions are in the sum.
        seeds: shares of the survivors' self-masks: whose it is → who held it → share.
        mask_keys: the same for the keys of those who shared secrets and dropped out.
    """

    base: Weights
    range: float
    threshold: int
    transcript: bytes
    members: Mapping[ParticipantID, Keys]
    survivors: tuple[ParticipantID, ...]
    seeds: Mapping[ParticipantID, Mapping[ParticipantID, bytes]]
    mask_keys: Mapping[ParticipantID, Mapping[ParticipantID, bytes]]


class Abandon(MaskedEffect, frozen=True):
    """Forget the sum: this attempt at a round is over, for the reason."""

    round: int
    reason: str
