"""Many participants: who comes and goes is told to each of them, but not each time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from disco.core.effects import Effect, Send
from disco.core.events import Joined, Left, Ticked
from disco.core.federated import FederatedSession, RoundRules
from disco.core.federated.seats import CROWD, CROWD_SECONDS
from disco.core.messages import Enough, ParticipantsChanged
from disco.core.metadata import Noticeboard
from disco.core.names import ParticipantID, TaskID
from disco.core.weights import Weights

RULES = RoundRules(minimum=2, interval=30.0, retry=5.0)


def session(rules: RoundRules = RULES) -> FederatedSession:
    return FederatedSession(TaskID("t"), rules, Weights.zeros(((1,),)), Noticeboard(1, 10))


def join(crowd: FederatedSession, number: int, now: float) -> Sequence[Effect]:
    return crowd.handle(Joined(ParticipantID(str(number)), pushed=True), now)


def told(effects: Sequence[Effect]) -> list[tuple[int, int]]:
    """Return to how many participants which counts went."""
    sends = [effect for effect in effects if isinstance(effect, Send)]
    return [
        (len(send.to), send.message.participants)
        for send in sends
        if isinstance(send.message, ParticipantsChanged | Enough)
    ]


def full(now: float = 0.0) -> FederatedSession:
    crowd = session()
    for number in range(CROWD):
        join(crowd, number, now)
    return crowd


def test_up_to_a_crowd_every_change_is_told_at_once() -> None:
    crowd = session()
    for number in range(CROWD):
        before = len(crowd.present)
        assert told(join(crowd, number, 0.0)) == ([(before, before + 1)] if before else [])
    assert crowd.deadline == math.inf


def test_a_crowd_hears_of_many_changes_in_one_count() -> None:
    crowd = full()
    for number in range(CROWD, CROWD + 50):
        assert told(join(crowd, number, 0.5)) == []
    crowd.handle(Left(ParticipantID("0")), 0.6)
    assert crowd.deadline == CROWD_SECONDS
    count = CROWD + 49
    assert told(crowd.handle(Ticked(), CROWD_SECONDS)) == [(count, count)]
    assert crowd.deadline == math.inf


def test_a_tick_before_its_time_tells_nothing() -> None:
    crowd = full()
    join(crowd, CROWD, 0.5)
    assert told(crowd.handle(Ticked(), 0.9)) == []
    assert crowd.deadline == CROWD_SECONDS


def test_a_change_after_a_quiet_second_is_told_at_once() -> None:
    crowd = full()
    assert told(join(crowd, CROWD, CROWD_SECONDS)) == [(CROWD, CROWD + 1)]


def test_that_a_crowd_is_enough_is_told_at_once() -> None:
    crowd = session(RoundRules(minimum=CROWD + 2, interval=30.0, retry=5.0))
    for number in range(CROWD + 1):
        join(crowd, number, 0.0)
    told_now = told(join(crowd, CROWD + 1, 0.1))
    assert told_now == [(CROWD + 1, CROWD + 2)]
    assert crowd.deadline == math.inf
