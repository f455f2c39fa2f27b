"""What participants are told: what became of a contribution, and what others left for them.

A verdict on a contribution is a record for the log and a message for its sender, in this order.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from disco.core.effects import Effect, Record, Send
from disco.core.events import Contributed, MetadataPosted, MetadataRequested
from disco.core.federated.contributions import Contributions
from disco.core.messages import Metadata, Outcome, Verdict
from disco.core.metadata import Noticeboard
from disco.core.names import ParticipantID, TaskID
from disco.errors import LimitExceeded


def accepted(made: Contributed) -> Sequence[Effect]:
    """Tell a sender that its contribution counts."""
    verdict = Verdict(made.round, Outcome.ACCEPTED, "", made.key)
    return (Record(made.participant, Outcome.ACCEPTED), Send((made.participant,), verdict))


def refused(
    participant: ParticipantID, round_: int, outcome: Outcome, reason: str, key: str | None
) -> Sequence[Effect]:
    """Tell a sender why its contribution does not count."""
    verdict = Verdict(round_, outcome, reason, key)
    return (Record(participant, outcome, reason), Send((participant,), verdict))


def repeated(event: Contributed, first: str | None) -> Sequence[Effect]:
    """Answer a second contribution to one round, which does not count; `first` is the key of the one that does."""
    if first is not None and first == event.key:
        verdict = Verdict(event.round, Outcome.ACCEPTED, "it had been counted already", event.key)
    else:
        verdict = Verdict(event.round, Outcome.DISCARDED, "only the first of a round counts", event.key)
    reason = f"it has contributed to round {event.round} already"
    return (Record(event.participant, Outcome.DISCARDED, reason), Send((event.participant,), verdict))


def recalled(event: Contributed, made: int) -> Sequence[Effect]:
    """Answer a contribution that counted in a round that is over; its sender did not hear of it."""
    reason = f"it had been counted already, in round {made}"
    verdict = Verdict(event.round, Outcome.ACCEPTED, reason, event.key)
    return (Record(event.participant, Outcome.DISCARDED, reason), Send((event.participant,), verdict))


def delayed(
    contributions: Contributions, present: Collection[ParticipantID], round_: int, reason: str
) -> Sequence[Effect]:
    """Tell those who contributed to a round, and are present, that it cannot be closed now."""
    why = f"it counts, but the round cannot be closed now and is tried again: {reason}"
    return tuple(
        Send((name,), Verdict(round_, Outcome.ACCEPTED, why, key))
        for name, key in contributions.items()
        if name in present
    )


def dropped(
    contributions: Contributions, present: Collection[ParticipantID], round_: int, reason: str
) -> Sequence[Effect]:
    """Tell those who contributed to a round that it will not be closed; the log hears of those who left, too."""
    told: list[Effect] = []
    for name, key in contributions.items():
        record, send = refused(name, round_, Outcome.DISCARDED, reason, key)
        told += [record, send] if name in present else [record]
    return told


def post(noticeboard: Noticeboard, event: MetadataPosted) -> Sequence[Effect]:
    """Put up what a participant leaves for the others."""
    try:
        noticeboard.post(event.participant, event.round, event.name, event.value)
    except LimitExceeded as error:
        return (Record(event.participant, Outcome.DISCARDED, str(error)),)
    return ()


def read(noticeboard: Noticeboard, task: TaskID, event: MetadataRequested) -> Sequence[Effect]:
    """Answer with what the others left."""
    entries = noticeboard.read(event.round, event.name)
    answer = Metadata(task, event.participant, event.round, event.name, entries)
    return (Send((event.participant,), answer),)
