"""A participant's half of one attempt at a masked round: it makes secrets, shares them, masks, and reveals once.

    Member ── keys ──▶ share(Roster) ──▶ mask(SharesRelayed) ──▶ reveal(Survivors)

What the server asks is checked against the task's terms, which the participant knows, and every step is taken once:
a server that asks for something else gets nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np

from disco.core.masking.keys import KEY_BYTES, Sealing, mask_seed, public_key, seal_of, transcript
from disco.core.masking.keystream import BATCH, Keystreams, Mask, apply_masks, blocks
from disco.core.masking.quantization import MAX_MEMBERS, Grid, Walk
from disco.core.masking.shamir import SHARE_BYTES, Entropy, split
from disco.core.masking.terms import Terms
from disco.core.masking.words import (
    Keys,
    MaskedContributed,
    Roster,
    SharesRelayed,
    SharesRevealed,
    SharesSent,
    Survivors,
    Words32,
)
from disco.core.names import ParticipantID, TaskID
from disco.core.weights import BLOCK, Weights
from disco.errors import ProtocolViolation


@dataclass(frozen=True, slots=True)
class Footing:
    """On what a participant takes part in masked rounds.

    Args:
        minimum: members that the task says make a round.
        group_secret: see `Sealing`.
    """

    task: TaskID
    terms: Terms
    minimum: int
    group_secret: bytes = field(default=b"", repr=False)


P = ParamSpec("P")
T = TypeVar("T")
_Step = Callable[Concatenate["Member", P], T]


def _step(number: int) -> Callable[[_Step[P, T]], _Step[P, T]]:
    """Let a method be called once only, after the one with the number before it."""

    def wrap(method: _Step[P, T]) -> _Step[P, T]:
        @wraps(method)
        def once(self: Member, /, *args: P.args, **kwargs: P.kwargs) -> T:
            if self.steps != number - 1:
                raise ProtocolViolation(f"the server asked to {method.__name__} out of turn")
            self.steps = number
            return method(self, *args, **kwargs)

        return once

    return wrap


class Member:
    """One participant in one attempt; for another attempt make another one.

    Args:
        me: its ID; the others know it by its place in the roster.
        round_: for which it has a contribution.
        footing: what it relies on.
        entropy: where its secrets come from; the operating system, but in tests.
    """

    def __init__(
        self, me: ParticipantID, round_: int, footing: Footing, entropy: Entropy = os.urandom
    ) -> None:
        self._me = me
        self._round = round_
        self._footing = footing
        self._entropy = entropy
        self._mask_secret, self._share_secret = entropy(KEY_BYTES), entropy(KEY_BYTES)
        self._seed = entropy(KEY_BYTES)
        self.keys = Keys(public_key(self._mask_secret), public_key(self._share_secret), seal_of(self._seed))
        self.steps = 0
        self.clipped = 0
        self._place = me
        self._attempt = 0
        self._threshold = 0
        self._members: Mapping[ParticipantID, Keys] = {}
        self._sharers: frozenset[ParticipantID] = frozenset()
        self._held: dict[ParticipantID, bytes] = {}  # a share of the seed, then one of the mask key
        self._transcript = b""

    @property
    def _sealing(self) -> Sealing:
        return Sealing(self._share_secret, self._transcript, self._footing.group_secret)

    @_step(1)
    def share(self, roster: Roster) -> SharesSent:
        """Share both secrets with the other members.

        Raises:
            ProtocolViolation: these members cannot protect this one, or it is not one of them.
        """
        self._require_roster(roster)
        self._attempt, self._members = roster.attempt, dict(roster.members)
        self._transcript = transcript(self._footing.task, roster.round, roster.attempt, roster.members)
        count = len(roster.members)
        self._threshold = self._footing.terms.threshold(count)
        seeds = split(self._seed, self._threshold, count, self._entropy)
        mask_keys = split(self._mask_secret, self._threshold, count, self._entropy)
        shares: dict[ParticipantID, bytes] = {}
        for (name, keys), *pair in zip(roster.members.items(), seeds, mask_keys, strict=True):
            if name == self._place:
                self._held[name] = b"".join(pair)
            else:
                shares[name] = self._sealing.seal(b"".join(pair), keys.share_key, self._place, name)
        return SharesSent(self._me, roster.attempt, shares)

    def _require_roster(self, roster: Roster) -> None:
        least = max(self._footing.minimum, 2)
        if roster.round != self._round:
            raise ProtocolViolation(f"the server masks round {roster.round} where {self._round} is due")
        mine = [place for place, keys in roster.members.items() if keys == self.keys]
        if not mine:
            raise ProtocolViolation("the server gave the members other keys than this one's")
        self._place = mine[0]
        if not least <= len(roster.members) <= MAX_MEMBERS:
            raise ProtocolViolation(
                f"{len(roster.members)} members are to mask; from {least} to {MAX_MEMBERS} may"
            )
        told = [keys for each in roster.members.values() for keys in (each.mask_key, each.share_key)]
        if len(set(told)) != len(told):
            raise ProtocolViolation("the server gave two members the same key")

    @_step(2)
    def mask(self, relayed: SharesRelayed, update: Weights, base: Weights) -> MaskedContributed:
        """Mask the change from `base` to `update`, in one pass over both; `clipped` is then known.

        Raises:
            ProtocolViolation: too few members shared their secrets, or what came for this one is not theirs.
        """
        self._require_attempt(relayed.attempt)
        strangers = relayed.shares.keys() - (self._members.keys() - {self._place})
        if strangers or len(relayed.shares) + 1 < self._threshold:
            raise ProtocolViolation(
                f"{len(relayed.shares) + 1} members shared secrets, and it takes {self._threshold}"
            )
        self._hold(relayed)
        masked = np.empty(update.parameters, dtype="<u4")
        first, *others = _batched(self._masks(relayed))
        self._write(masked, update, base, Keystreams(first))
        for batch in others:
            apply_masks(masked, batch)
        return MaskedContributed(self._me, self._attempt, masked)

    def _hold(self, relayed: SharesRelayed) -> None:
        """Open what came. A few bad shares are their senders' fault, and the others' hold; many are the server's."""
        self._sharers = frozenset({self._place, *relayed.shares})
        for name, sealed in relayed.shares.items():
            with suppress(ProtocolViolation):
                public = self._members[name].share_key
                self._held[name] = self._sealing.open(sealed, public, name, self._place)
        if len(self._held) < self._threshold:
            raise ProtocolViolation(
                f"only {len(self._held)} of {len(self._sharers)} members' shares can be opened: they have other keys"
                " than the server says, or another group secret"
            )

    def _masks(self, relayed: SharesRelayed) -> list[Mask]:
        """Return the self-mask, and one for every other member that shared its secrets."""
        masks = [Mask(self._seed, added=True)]
        places = {name: place for place, name in enumerate(self._members)}
        for name in relayed.shares:
            seed = mask_seed(self._mask_secret, self._members[name].mask_key, self._transcript)
            masks.append(Mask(seed, added=places[self._place] < places[name]))
        return masks

    def _write(self, masked: Words32, update: Weights, base: Weights, streams: Keystreams) -> None:
        grid = Grid(self._footing.terms.range, len(self._members))
        new, old = Walk(update), Walk(base)
        changes, before = np.empty(BLOCK), np.empty(BLOCK)
        for block in blocks(masked):
            change, from_ = changes[: block.size], before[: block.size]
            new.read(change)
            old.read(from_)
            change -= from_
            self.clipped += grid.quantize(change, block)
            streams.apply(block)

    @_step(3)
    def reveal(self, survivors: Survivors) -> SharesRevealed:
        """Give a share of one secret of every member: the self-mask of those who delivered, or else the mask key.

        This is answered once, so the server never gets both from this member.

        Raises:
            ProtocolViolation: too few have delivered, or some who shared no secrets.
        """
        self._require_attempt(survivors.attempt)
        delivered = set(survivors.survivors)
        if not delivered <= self._sharers or self._place not in delivered:
            raise ProtocolViolation("the server says that others delivered than those who could")
        if len(delivered) < self._threshold:
            raise ProtocolViolation(f"{len(delivered)} members delivered, and it takes {self._threshold}")
        held, self._held = self._held, {}
        seeds = {name: pair[:SHARE_BYTES] for name, pair in held.items() if name in delivered}
        mask_keys = {name: pair[SHARE_BYTES:] for name, pair in held.items() if name not in delivered}
        return SharesRevealed(self._me, self._attempt, seeds, mask_keys)

    def _require_attempt(self, attempt: int) -> None:
        if attempt != self._attempt:
            raise ProtocolViolation(
                f"the server speaks of attempt {attempt} where {self._attempt} is under way"
            )


def _batched(masks: list[Mask]) -> list[list[Mask]]:
    return [masks[start : start + BATCH] for start in range(0, len(masks), BATCH)]
