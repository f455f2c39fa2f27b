"""Who has a contribution to the current round, and with which keys; when they are enough to begin."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Set

from disco.core.masking.keys import is_usable
from disco.core.masking.quantization import MAX_MEMBERS
from disco.core.masking.words import Keys, KeysAdvertised
from disco.core.messages import Outcome
from disco.core.names import ParticipantID


class Gathering:
    """The keys for the next attempt, and everybody who waits for the round's result.

    Args:
        minimum: members that make a round.
        interval: seconds after the first keys when the round begins without those who have none.
    """

    def __init__(self, minimum: int, interval: float) -> None:
        self._minimum = minimum
        self._interval = interval
        self._keys: dict[ParticipantID, Keys] = {}
        self._waiting: dict[ParticipantID, None] = {}
        self._barred: frozenset[ParticipantID] = frozenset()
        self.first_at = math.inf

    @property
    def waiting(self) -> tuple[ParticipantID, ...]:
        """Who has a contribution, in this attempt or not, and is to hear how the round ends."""
        return tuple(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether an attempt takes no more members."""
        return len(self._keys) >= MAX_MEMBERS

    def due_at(self, present: Set[ParticipantID]) -> float:
        """Return when to begin: -inf for at once, inf while they are not enough."""
        if len(self._keys) < self._minimum:
            return math.inf
        return -math.inf if self.is_full or present <= self._keys.keys() else self.first_at + self._interval

    def wait(self, participant: ParticipantID) -> None:
        """Remember somebody who has a contribution and is in no attempt."""
        self._waiting[participant] = None

    def add(self, participant: ParticipantID, keys: Keys, now: float) -> None:
        """Take keys, or other keys of the same participant."""
        self.wait(participant)
        self._keys[participant] = keys
        self.first_at = min(self.first_at, now)

    def lose(self, participant: ParticipantID) -> None:
        """Forget a participant."""
        self._keys.pop(participant, None)
        self._waiting.pop(participant, None)

    def take(self) -> Mapping[ParticipantID, Keys]:
        """Return the members of the attempt that begins; they go on waiting."""
        keys, self._keys = self._keys, {}
        return keys

    def clear(self) -> None:
        """Begin another round, with nobody."""
        self.begin_again()
        self._barred = frozenset()

    def begin_again(self, without: Collection[ParticipantID] = ()) -> None:
        """Begin the same round again with nobody, and without those who cannot be in it."""
        self._keys, self._waiting, self.first_at = {}, {}, math.inf
        self._barred |= frozenset(without)

    def refusal(self, event: KeysAdvertised, round_: int) -> tuple[Outcome, str] | None:
        """Say why keys cannot be for the current round, `round_`; None if they can."""
        if event.round != round_:
            state = "is over" if event.round < round_ else "has not begun"
            return Outcome.DISCARDED, f"round {event.round} {state}, the current round is {round_}"
        if event.participant in self._barred:
            why = "the others could not open its shares: it has another group secret, or is broken"
            return Outcome.REJECTED, f"round {round_} goes on without this participant: {why}"
        wrong = self._wrong_with(event)
        return (Outcome.REJECTED, wrong) if wrong else None

    def _wrong_with(self, event: KeysAdvertised) -> str:
        """Say what is wrong with keys. With such keys in its roster, no member would go on."""
        mine = (event.keys.mask_key, event.keys.share_key)
        if not all(map(is_usable, mine)):
            return "maskKey and shareKey must be public keys of X25519 that are not of low order"
        others = (keys for name, keys in self._keys.items() if name != event.participant)
        taken = {key for keys in others for key in (keys.mask_key, keys.share_key)}
        if len({*mine} - taken) < len(mine):
            return "maskKey and shareKey must differ from each other, and from those of every other member"
        return ""
