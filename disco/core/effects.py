"""What a session wants done: everything that its `handle` returns, in the imperative. The runtime performs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from disco.core.events import Contributed
from disco.core.masking.words import MaskedEffect
from disco.core.messages import Message, Outcome
from disco.core.names import ParticipantID


@dataclass(frozen=True, slots=True)
class Send:
    """Send one message to each of `to`; whoever has left meanwhile is passed over."""

    to: tuple[ParticipantID, ...]
    message: Message


@dataclass(frozen=True, slots=True)
class Record:
    """Count and log what became of a contribution or signal, with the reason if it was not accepted."""

    participant: ParticipantID
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Fold:
    """Check an update's values and add it to the running total. Answered by `Folded` or `FoldRefused`."""

    contribution: Contributed


@dataclass(frozen=True, slots=True)
class RoundFigures:
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


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Close the round: finish the total, make the result durable. Answered by `Aggregated` or `AggregationFailed`.

    Args:
        keys: of the contributions in it that have one; durable with it, so that none counts twice.
        since: the oldest round whose keys are still needed.
    """

    figures: RoundFigures
    keys: tuple[str, ...] = ()
    since: int = 0


@dataclass(frozen=True, slots=True)
class Reset:
    """Forget the training: the initial model is current again, at round 0, on disk too."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close every connection of a participant with a code and a reason (RFC 6455, section 7.4)."""

    participant: ParticipantID
    code: int
    reason: str


Effect: TypeAlias = Send | Record | Fold | Aggregate | Reset | Disconnect | MaskedEffect
