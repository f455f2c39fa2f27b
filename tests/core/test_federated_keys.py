"""A contribution that is sent again counts once: within its round, in later rounds, and after a restart."""

from __future__ import annotations

import pytest

from disco.core.effects import Aggregate
from disco.core.events import Contributed, Left
from disco.core.federated import REMEMBERED_ROUNDS, FederatedSession, RoundRules
from disco.core.messages import GlobalModel, Outcome, Verdict
from disco.core.metadata import Noticeboard
from disco.core.names import ParticipantID
from tests.core.test_federated import MODEL, UPDATE, A, B, Room


def close_round(room: Room, key: str | None = None) -> None:
    room.contribute(A, key=key)
    room.contribute(B)


def verdicts(room: Room, who: ParticipantID, round_: int, key: str) -> list[Outcome]:
    sent = room.contribute(who, round_, key=key)
    assert [said for to, said in sent if isinstance(said, GlobalModel)], "it gets the current model"
    return [said.outcome for to, said in sent if isinstance(said, Verdict) and to == who]


def test_a_key_of_a_closed_round_is_answered_accepted_with_the_current_model() -> None:
    room = Room()
    room.join(A, B)
    close_round(room, "k")
    assert verdicts(room, A, 0, "k") == [Outcome.ACCEPTED]
    assert room.session.contributors == ()


def test_a_late_contribution_with_another_key_is_discarded() -> None:
    room = Room()
    room.join(A, B)
    close_round(room, "k")
    assert verdicts(room, A, 0, "other") == [Outcome.DISCARDED]


def test_a_contribution_that_may_be_stale_does_not_count_twice() -> None:
    room = Room()
    rules = RoundRules(minimum=2, interval=30.0, retry=5.0, buffer=2, max_staleness=3)
    room.session = FederatedSession(room.session._task, rules, MODEL, Noticeboard(4, 100))
    room.join(A, B)
    close_round(room, "k")
    assert verdicts(room, A, 0, "k") == [Outcome.ACCEPTED]
    assert room.session.contributors == ()


def test_the_keys_of_a_round_are_made_durable_with_it() -> None:
    room = Room()
    room.join(A, B)
    room.contribute(A, key="a")
    room.contribute(B)
    (effect,) = [effect for effect in room.effects if isinstance(effect, Aggregate)]
    assert effect.keys == ("a",)


def test_keys_are_known_again_after_a_restart() -> None:
    room = Room()
    room.session.resume(7, MODEL, 7, 14, {"k": 7})
    room.join(A, B)
    assert verdicts(room, A, 6, "k") == [Outcome.ACCEPTED]


@pytest.mark.parametrize("rounds", [REMEMBERED_ROUNDS, 3 * REMEMBERED_ROUNDS])
def test_keys_of_old_rounds_are_forgotten(rounds: int) -> None:
    room = Room()
    room.join(A, B)
    for number in range(rounds):
        close_round(room, f"k{number}")
    assert len(room.session._contributions._counted) == REMEMBERED_ROUNDS
    assert verdicts(room, A, 0, "k0") == [
        Outcome.ACCEPTED if rounds == REMEMBERED_ROUNDS else Outcome.DISCARDED
    ]


def test_a_reset_forgets_keys() -> None:
    room = Room(reset=True)
    room.join(A, B)
    close_round(room, "k")
    room.tell(Left(A))
    room.tell(Left(B))
    assert room.session._contributions._counted == {}


def test_contributors_are_told_once_when_a_round_cannot_be_closed_and_it_closes_later() -> None:
    room = Room()
    room.join(A, B)
    room.disk_full = True
    room.contribute(A, key="a")
    sent = room.contribute(B, key="b")
    told = [
        (to, said.key) for to, said in sent if isinstance(said, Verdict) and "disk is full" in said.reason
    ]
    assert told == [(A, "a"), (B, "b")]
    room.wait(5.0)
    assert not room.effects[1:], "once is enough"
    room.disk_full = False
    room.wait(5.0)
    assert room.session.round == 1


def test_a_repeat_while_the_disk_is_full_does_not_count_again() -> None:
    room = Room()
    room.join(A, B)
    room.disk_full = True
    close_round(room, "k")
    sent = room.tell(Contributed(A, 0, UPDATE, "k"))
    assert [said.outcome for _, said in sent if isinstance(said, Verdict)] == [Outcome.ACCEPTED]
    room.disk_full = False
    room.wait(5.0)
    assert room.closed == [2]
