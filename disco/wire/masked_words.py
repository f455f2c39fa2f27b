"""The messages of masked rounds, as they are: a class's name is the message's type.

Members know each other by their places in the roster, "1" and up. `attempt` tells one attempt at a round from another;
keys and shares are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias

from msgspec import Meta, Raw

from disco.core.masking.quantization import MAX_MEMBERS
from disco.core.messages import Outcome
from disco.wire.envelope import ABSENT, Count, Identity, Word

#: A public key of X25519, or a SHA-256.
Key: TypeAlias = Annotated[bytes, Meta(min_length=32, max_length=32)]
#: Two shares of 66 bytes, sealed with 16 more.
Sealed: TypeAlias = Annotated[bytes, Meta(min_length=148, max_length=148)]
#: One share: an integer of 521 bits, big-endian.
Share: TypeAlias = Annotated[bytes, Meta(min_length=66, max_length=66)]

Sealeds: TypeAlias = Annotated[Mapping[Identity, Sealed], Meta(max_length=MAX_MEMBERS)]
Shares: TypeAlias = Annotated[Mapping[Identity, Share], Meta(max_length=MAX_MEMBERS)]
#: Place, mask key, share key, seal.
MemberKeys: TypeAlias = tuple[Identity, Key, Key, Key]

# ── Messages of a participant ────────────────────────────────────────────────────────────────────────────


class JoinMasked(Word):
    """Hello, with the ID that it had before, if any."""

    participant: Identity | None = None


class AdvertiseKeys(Word):
    """A participant has a contribution to a round; `seal` is the SHA-256 of its self-mask's seed."""

    round: Count
    maskKey: Key
    shareKey: Key
    seal: Key


class ShareSecrets(Word):
    """Sealed shares, by the member that each is for."""

    attempt: Count
    shares: Sealeds


class MaskedUpdate(Word):
    """A masked contribution: little-endian uint32, one a parameter, all tensors in the model's order."""

    attempt: Count
    masked: Raw = ABSENT


class RevealShares(Word):
    """Shares of the self-masks of those who delivered, and of the mask keys of those who dropped out."""

    attempt: Count
    seeds: Shares
    maskKeys: Shares


# ── Messages of the server ───────────────────────────────────────────────────────────────────────────────


class MaskedWelcome(Word):
    """Answers hello; the payload is nil while the round is 0. `ended` says why the training has ended, if it has."""

    id: Identity
    waiting: bool
    payload: Raw
    round: Count
    participants: Count
    ended: str = ""


class Roster(Word):
    """The members of an attempt, in the order of their places."""

    round: Count
    attempt: Count
    members: Annotated[Sequence[MemberKeys], Meta(max_length=MAX_MEMBERS)]


class RelayShares(Word):
    """Sealed shares, by the member that each is from."""

    attempt: Count
    shares: Sealeds


class Survivors(Word):
    """Whose contributions are in the sum."""

    attempt: Count
    survivors: Annotated[Sequence[Identity], Meta(max_length=MAX_MEMBERS)]


class RoundAbandoned(Word):
    """An attempt is over without a result: advertise other keys."""

    round: Count
    reason: str


class NewModel(Word):
    """The global model, in the form of v4's payloads."""

    payload: Raw
    round: Count
    participants: Count


class ContributionVerdict(Word):
    """What became of a contribution."""

    round: Count
    outcome: Outcome
    reason: str


class TrainingEnded(Word):
    """Nothing counts any more; without a reason, it does again."""

    round: Count
    reason: str


class WaitingForMore(Word):
    """Too few for a round."""

    participants: Count


class Enough(Word):
    """Enough again."""

    participants: Count


class ParticipantsChanged(Word):
    """Neither, but another number."""

    participants: Count
