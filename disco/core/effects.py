"""What a session wants done: everything that its `handle` returns, in the imperative. The runtime performs it."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from disco.core.events import Contributed
from disco.core.masking.words import MaskedEffect
from disco.core.messages import Message, Outcome
from disco.core.names import ParticipantID


class Send(Struct, frozen=True):
    """Send one message to each of `to`; whoever has left meanwhile is passed over."""

    to: tuple[ParticipantID, ...]
    message: Message


class Record(Struct, frozen=True):
    """Count and log what became of a contribution or signal, with the reason if it was not accepted."""

    participant: ParticipantID
    outcome: Outcome
    reason: str = ""


class Fold(Struct, frozen=True):
    """Check an update's values and add it to the running total. Answered by `Folded` or `FoldRefused`."""

    contribution: Contributed


class RoundFigures(Struct, frozen=True):
    """A closed round in numbers.

    Args:
        number: the round that the new global model begins.
        participants: present when it closed.
        contributions: summed in it.
        seconds: from its first contribution to its closing.
    """

    number: int
    participants: int
    contributions: int
    seconds: float


class Aggregate(Struct, frozen=True):
    """Close the round: finish the total, make the result durable. Answered by `Aggregated` or `AggregationFailed`.

    Args:
        keys: of the contributions in it that have one; durable with it, so that none counts twice.
        since: the oldest round whose keys are still needed.
    """

    figures: RoundFigures
    keys: tuple[str, ...] = ()
    since: int = 0


class Reset(Struct, frozen=True):
    """Forget the training: the initial model is current again, at round 0, on disk too."""


class Disconnect(Struct, frozen=True):
    """Close every connection of a participant with a code and a reason (RFC 6455, section 7.4)."""

    participant: ParticipantID
    code: int
    reason: str


Effect: TypeAlias = Send | Record | Fold | Aggregate | Reset | Disconnect | MaskedEffect
