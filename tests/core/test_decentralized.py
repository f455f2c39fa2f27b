"""The hub's decisions, one behaviour a test. `test_decentralized_machine.py` walks them at random."""

from __future__ import annotations

import math

import pytest

from disco.core.decentralized import (
    Announcements,
    BarrierLimits,
    DecentralizedSession,
    Formation,
    Policy,
)
from disco.core.effects import Disconnect, Effect, Record, Send
from disco.core.events import (
    BecameReady,
    ConnectionsEstablished,
    Event,
    Joined,
    Left,
    ModelRequested,
    ModelSyncRequested,
    RoundJoined,
    Signalled,
    Ticked,
)
from disco.core.messages import (
    ConnectionsFailed,
    Enough,
    Message,
    ModelProvider,
    ModelWanted,
    Outcome,
    ParticipantsChanged,
    PeersForRound,
    PeerWelcome,
    RetryConnections,
    Signal,
    StartSharing,
    WaitingForMore,
)
from disco.core.names import ParticipantID

A, B, C, D = (ParticipantID(name) for name in ("1", "2", "3", "4"))
LIMITS = BarrierLimits(max_connection_seconds=60, max_retries=3)


def after(session: DecentralizedSession, *events: Event, now: float = 0.0) -> list[Effect]:
    """The effects of the last of these events."""
    effects: list[Effect] = []
    for event in events:
        effects = list(session.handle(event, now))
    return effects


def told(effects: list[Effect]) -> dict[ParticipantID, list[Message]]:
    """What each peer is sent, in order."""
    heard: dict[ParticipantID, list[Message]] = {}
    for effect in effects:
        if isinstance(effect, Send):
            for to in effect.to:
                heard.setdefault(to, []).append(effect.message)
    return heard


def session_of(policy: Policy, *peers: ParticipantID) -> DecentralizedSession:
    session = DecentralizedSession(policy)
    for peer in peers:
        session.handle(Joined(peer), 0.0)
    return session


def connecting(
    *peers: ParticipantID, minimum: int = 2, limits: BarrierLimits = LIMITS
) -> DecentralizedSession:
    """A session whose peers have just been introduced and now connect."""
    session = session_of(Policy.all_present(minimum, barrier=limits), *peers)
    for peer in peers:
        session.handle(BecameReady(peer), 0.0)
    return session


# ── Joining ──────────────────────────────────────────────────────────────────────────────────────────────


def test_newcomer_is_told_its_own_id_and_how_many_are_here() -> None:
    session = session_of(Policy.first_ready(3), A)
    assert after(session, Joined(B)) == [Send((B,), PeerWelcome(B, True, 2, False))]


def test_a_repeated_hello_gets_the_same_answer_and_changes_nothing() -> None:
    session = session_of(Policy.all_present(3), A)
    first = after(session, Joined(B))[0]
    assert after(session, Joined(B)) == [first]
    assert session.peers == (A, B)


def test_a_peer_above_the_limit_is_asked_to_come_back_later() -> None:
    session = session_of(Policy.first_ready(2, max_peers=2), A, B)
    (effect,) = after(session, Joined(C))
    assert isinstance(effect, Disconnect)
    assert (effect.participant, effect.code) == (C, 1013)
    assert "2 peers" in effect.reason


def test_a_repeated_hello_is_not_refused_when_the_session_is_full() -> None:
    session = session_of(Policy.first_ready(2, max_peers=2), A, B)
    assert told(after(session, Joined(B))) == {B: [PeerWelcome(B, False, 2, False)]}


def test_a_refused_peer_can_leave_without_a_trace() -> None:
    session = session_of(Policy.all_present(2, max_peers=2), A, B)
    assert after(session, Joined(C), Left(C)) == []


@pytest.mark.parametrize(
    "event", [BecameReady(A), RoundJoined(A), Signalled(A, B, b""), ConnectionsEstablished(A)]
)
def test_who_has_not_joined_is_recorded_and_changes_nothing(event: Event) -> None:
    session = session_of(Policy.first_ready(1), B)
    assert after(session, event) == [Record(A, Outcome.DISCARDED, "it has not joined this session")]


def test_a_message_of_the_other_scheme_is_recorded() -> None:
    session = session_of(Policy.first_ready(2), A)
    (effect,) = after(session, ModelRequested(A))
    assert effect == Record(A, Outcome.DISCARDED, "ModelRequested has no place in this session")


# ── Rounds: first ready ──────────────────────────────────────────────────────────────────────────────────


def test_the_minimum_of_ready_peers_is_introduced_without_themselves_and_in_one_answer() -> None:
    session = session_of(Policy.first_ready(3), A, B, C, D)
    assert after(session, BecameReady(A), BecameReady(B)) == []
    assert after(session, BecameReady(D)) == [
        Send((A,), PeersForRound((B, D), 0, 4)),
        Send((B,), PeersForRound((A, D), 0, 4)),
        Send((D,), PeersForRound((A, B), 0, 4)),
    ]


def test_a_late_peer_waits_for_the_next_group() -> None:
    session = session_of(Policy.first_ready(2), A, B, C, D)
    after(session, BecameReady(A), BecameReady(B), BecameReady(C))
    assert told(after(session, BecameReady(D))) == {
        C: [PeersForRound((D,), 1, 4)],
        D: [PeersForRound((C,), 1, 4)],
    }


def test_ready_twice_counts_once() -> None:
    session = session_of(Policy.first_ready(2), A, B)
    assert after(session, BecameReady(A), BecameReady(A)) == []


def test_who_leaves_while_ready_is_in_no_round() -> None:
    session = session_of(Policy.first_ready(2), A, B, C)
    assert after(session, BecameReady(A), Left(A), BecameReady(B)) == []
    assert told(after(session, BecameReady(C))) == {
        B: [PeersForRound((C,), 0, 2)],
        C: [PeersForRound((B,), 0, 2)],
    }


def test_ready_before_hello_does_not_reach_the_round() -> None:
    session = session_of(Policy.first_ready(2), B, C)
    after(session, BecameReady(A), Joined(A), BecameReady(B))
    assert set(told(after(session, BecameReady(C)))) == {B, C}


# ── Rounds: all joined ───────────────────────────────────────────────────────────────────────────────────


def test_a_round_waits_for_everybody_who_joined_it() -> None:
    session = session_of(Policy.all_joined(2), A, B, C)
    after(session, RoundJoined(A), RoundJoined(B), RoundJoined(C), BecameReady(A))
    assert after(session, BecameReady(B)) == []
    assert set(told(after(session, BecameReady(C)))) == {A, B, C}


def test_a_round_does_not_wait_for_who_has_not_joined_it() -> None:
    session = session_of(Policy.all_joined(2), A, B, C)
    after(session, RoundJoined(A), RoundJoined(B), BecameReady(A))
    assert set(told(after(session, BecameReady(B)))) == {A, B}


def test_the_last_missing_peer_closes_the_round_by_leaving() -> None:
    session = session_of(Policy.all_joined(2), A, B, C)
    after(session, RoundJoined(C), BecameReady(A), BecameReady(B))
    assert told(after(session, Left(C))) == {A: [PeersForRound((B,), 0, 2)], B: [PeersForRound((A,), 0, 2)]}


def test_all_ready_but_too_few_wait() -> None:
    session = session_of(Policy.all_joined(3), A, B)
    assert after(session, BecameReady(A), BecameReady(B)) == []


# ── Rounds: all present ──────────────────────────────────────────────────────────────────────────────────


def test_a_round_waits_for_everybody_present() -> None:
    session = session_of(Policy.all_present(2), A, B, C)
    assert after(session, BecameReady(A), BecameReady(B)) == []
    assert set(told(after(session, BecameReady(C)))) == {A, B, C}


def test_a_round_does_not_wait_for_a_peer_that_fetches_the_model() -> None:
    session = session_of(Policy.all_present(2), A, B, C)
    after(session, BecameReady(A), BecameReady(B))
    heard = told(after(session, ModelSyncRequested(C)))
    assert heard[A][-1] == PeersForRound((B,), 0, 3)


def test_a_peer_that_has_the_model_is_waited_for_again() -> None:
    session = session_of(Policy.all_present(2), A, B, C)
    after(session, ModelSyncRequested(C), RoundJoined(C), BecameReady(A))
    assert after(session, BecameReady(B)) == []


# ── What peers hear of others ────────────────────────────────────────────────────────────────────────────


def test_a_peer_that_waits_hears_when_they_are_enough_and_the_newcomer_does_not() -> None:
    session = session_of(Policy.all_joined(2), A)
    assert told(after(session, Joined(B))) == {A: [Enough(2)], B: [PeerWelcome(B, False, 2, False)]}


def test_falling_below_the_minimum_tells_peers_to_wait_once() -> None:
    session = session_of(Policy.all_joined(3), A, B, C, D)
    after(session, BecameReady(A), BecameReady(B), BecameReady(C), Left(D))
    assert told(after(session, Left(C))) == {A: [WaitingForMore(2)], B: [WaitingForMore(2)]}
    assert after(session, Left(B)) == []


def test_after_enough_only_a_peer_that_has_been_ready_since_is_told_to_wait() -> None:
    """A client clears its wait at the end of its training, and dies of a second one before."""
    session = session_of(Policy.all_joined(2), A)
    after(session, Joined(B))
    assert after(session, Left(B)) == []
    after(session, Joined(B), BecameReady(A))
    assert told(after(session, Left(B))) == {A: [WaitingForMore(1)]}


def test_first_ready_peers_hear_nothing_of_others() -> None:
    session = session_of(Policy.first_ready(2), A, B)
    assert after(session, Left(B)) == []


def test_counts_follow_every_join_and_leave_issue_707() -> None:
    """DISCO #707: the number of participants was wrong after joins and leaves."""
    session = session_of(Policy.all_present(2), A, B)
    assert told(after(session, Joined(C))) == {
        C: [PeerWelcome(C, False, 3, False)],
        A: [ParticipantsChanged(3)],
        B: [ParticipantsChanged(3)],
    }
    assert told(after(session, Joined(C))) == {C: [PeerWelcome(C, False, 3, False)]}
    assert told(after(session, Left(A))) == {B: [ParticipantsChanged(2)], C: [ParticipantsChanged(2)]}
    assert after(session, Left(A)) == []
    assert told(after(session, Left(B))) == {C: [WaitingForMore(1)]}


def test_a_peer_that_may_not_be_told_to_wait_still_hears_the_count() -> None:
    session = session_of(Policy.all_present(2), A)
    after(session, Joined(B))
    assert told(after(session, Left(B))) == {A: [ParticipantsChanged(1)]}


# ── Signals ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_signal_is_passed_on_unopened() -> None:
    session = session_of(Policy.first_ready(2), A, B)
    assert after(session, Signalled(A, B, b"\xc1\x00")) == [Send((B,), Signal(A, b"\xc1\x00"))]


def test_signals_to_who_is_not_here_are_recorded_once_for_each_addressee() -> None:
    session = session_of(Policy.first_ready(2), A)
    (effect,) = after(session, Signalled(A, B, b""))
    assert isinstance(effect, Record)
    assert effect.outcome is Outcome.DISCARDED
    assert after(session, Signalled(A, B, b"")) == []
    assert len(after(session, Signalled(A, C, b""))) == 1


def test_a_signal_to_a_departed_peer_does_not_harm_its_sender() -> None:
    session = session_of(Policy.first_ready(2), A, B, C)
    after(session, Left(B), Signalled(A, B, b""))
    assert after(session, Signalled(A, C, b"x")) == [Send((C,), Signal(A, b"x"))]


def test_a_signal_to_oneself_goes_nowhere() -> None:
    session = session_of(Policy.first_ready(2), A)
    assert told(after(session, Signalled(A, A, b""))) == {}


def test_made_up_addressees_are_reported_up_to_a_bound() -> None:
    session = session_of(Policy.first_ready(2), A)
    effects = [after(session, Signalled(A, ParticipantID(f"x{n}"), b"")) for n in range(100)]
    assert sum(map(len, effects)) == 64
    last = effects[63][0]
    assert isinstance(last, Record)
    assert "not reported" in last.reason


# ── Connecting ───────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_shares_before_the_slowest_is_connected_issue_1109() -> None:
    """DISCO #1109: fast peers sent their updates before slow ones were connected."""
    session = connecting(A, B, C)
    assert after(session, ConnectionsEstablished(A), ConnectionsEstablished(B)) == []
    assert after(session, ConnectionsEstablished(A)) == []
    assert after(session, ConnectionsEstablished(C)) == [Send((A, B, C), StartSharing())]


def test_connecting_has_a_deadline_and_sharing_has_none() -> None:
    session = session_of(Policy.all_present(2, barrier=LIMITS), A, B)
    assert session.deadline == math.inf
    after(session, BecameReady(A), BecameReady(B), now=100.0)
    assert session.deadline == 160.0
    after(session, ConnectionsEstablished(A), ConnectionsEstablished(B))
    assert session.deadline == math.inf


def test_a_deadline_that_has_not_come_does_nothing() -> None:
    session = connecting(A, B)
    assert after(session, Ticked(), now=59.0) == []


def test_too_slow_connections_are_tried_again_by_everybody() -> None:
    session = connecting(A, B)
    after(session, ConnectionsEstablished(A))
    assert after(session, Ticked(), now=60.0) == [Send((A, B), RetryConnections())]
    assert session.deadline == 120.0


def retried(*peers: ParticipantID, limits: BarrierLimits = LIMITS) -> DecentralizedSession:
    """A session whose peers have just been told to try again, at 60 s."""
    session = connecting(*peers, limits=limits)
    session.handle(Ticked(), 60.0)
    return session


def test_who_tries_again_says_that_it_is_ready_and_gets_the_same_round_again() -> None:
    session = retried(A, B)
    assert after(session, BecameReady(A), now=61.0) == []
    assert told(after(session, BecameReady(B), now=61.0)) == {
        A: [PeersForRound((B,), 0, 2)],
        B: [PeersForRound((A,), 0, 2)],
    }
    assert session.deadline == 121.0
    assert after(session, ConnectionsEstablished(A)) == []
    assert after(session, ConnectionsEstablished(B)) == [Send((A, B), StartSharing())]
    after(session, BecameReady(A))
    assert told(after(session, BecameReady(B)))[A] == [PeersForRound((B,), 1, 2)]


def test_connections_of_an_attempt_that_is_over_do_not_count_and_their_peer_is_told_again() -> None:
    session = retried(A, B)
    assert after(session, ConnectionsEstablished(A)) == [Send((A,), RetryConnections())]
    assert told(after(session, BecameReady(A), BecameReady(B))).keys() == {A, B}


def test_only_who_is_not_ready_again_is_told_again() -> None:
    session = retried(A, B)
    after(session, BecameReady(A), now=61.0)
    assert after(session, Ticked(), now=120.0) == [Send((B,), RetryConnections())]
    assert told(after(session, BecameReady(B))).keys() == {A, B}


def test_when_retries_are_used_up_the_unconnected_are_out_and_the_others_begin_again_without_them() -> None:
    session = connecting(A, B, C, limits=BarrierLimits(60, 1))
    after(session, Ticked(), now=60.0)
    after(session, BecameReady(A), BecameReady(B), BecameReady(C), now=61.0)
    after(session, ConnectionsEstablished(A), ConnectionsEstablished(B), now=62.0)
    assert after(session, Ticked(), now=121.0) == [
        Send((C,), ConnectionsFailed()),
        Send((A, B), RetryConnections()),
    ]
    assert told(after(session, BecameReady(A), BecameReady(B))) == {
        A: [PeersForRound((B,), 0, 3)],
        B: [PeersForRound((A,), 0, 3)],
    }


def test_who_is_never_ready_again_is_out_too() -> None:
    session = retried(A, B, C, limits=BarrierLimits(60, 1))
    after(session, BecameReady(A), BecameReady(B))
    effects = told(after(session, Ticked(), now=120.0))
    assert effects[C] == [ConnectionsFailed()]
    assert effects[A] == [PeersForRound((B,), 0, 3)]


def test_who_was_out_is_waited_for_once_it_is_heard_of_again() -> None:
    session = connecting(A, B, C, limits=BarrierLimits(60, 0))
    after(session, ConnectionsEstablished(A), ConnectionsEstablished(B))
    after(session, Ticked(), now=60.0)
    after(session, RoundJoined(C), BecameReady(A))
    assert after(session, BecameReady(B)) == []
    assert told(after(session, BecameReady(C))).keys() == {A, B, C}


def test_too_few_connected_peers_wait_for_others() -> None:
    """Telling them that they failed would end them, and there is no need: whoever comes completes the round."""
    session = connecting(A, B, C, limits=BarrierLimits(60, 0))
    after(session, ConnectionsEstablished(A))
    assert after(session, Ticked(), now=60.0) == [
        Send((B, C), ConnectionsFailed()),
        Send((A,), RetryConnections()),
    ]
    assert after(session, BecameReady(A)) == []
    assert told(after(session, Joined(D), BecameReady(D)))[A] == [PeersForRound((D,), 0, 4)]


def test_when_a_peer_leaves_while_connecting_the_others_begin_again_without_it() -> None:
    """Those who were connected to it already would wait for its update."""
    session = connecting(A, B, C)
    after(session, ConnectionsEstablished(A), ConnectionsEstablished(B))
    assert told(after(session, Left(C))) == {
        A: [ParticipantsChanged(2), RetryConnections()],
        B: [ParticipantsChanged(2), RetryConnections()],
    }
    assert told(after(session, BecameReady(A), BecameReady(B))).keys() == {A, B}


def test_leaving_while_connecting_lets_a_round_that_becomes_too_small_wait_for_more() -> None:
    session = connecting(A, B)
    assert told(after(session, Left(B)))[A] == [WaitingForMore(1), RetryConnections()]
    for attempt in range(10):
        heard = told(after(session, Ticked(), now=60.0 * (attempt + 1)))
        assert heard == {A: [RetryConnections()]}, "waiting for others is no failed attempt"
    after(session, Joined(C), BecameReady(A))
    assert told(after(session, BecameReady(C))).keys() == {A, C}


def test_a_peer_that_is_ready_while_others_connect_has_given_up_and_all_begin_again() -> None:
    session = connecting(A, B, C)
    after(session, ConnectionsEstablished(A), ConnectionsEstablished(B))
    assert after(session, BecameReady(C)) == [Send((A, B), RetryConnections())]
    assert told(after(session, BecameReady(A), BecameReady(B))).keys() == {A, B, C}


def test_connected_outside_a_round_is_recorded() -> None:
    session = session_of(Policy.all_present(2), A)
    assert after(session, ConnectionsEstablished(A)) == [
        Record(A, Outcome.DISCARDED, "it is in no round that is connecting")
    ]


# ── Joining while others train ───────────────────────────────────────────────────────────────────────────


def trained(*peers: ParticipantID) -> DecentralizedSession:
    """A session that has had a round, in which the peers connected in this order."""
    session = connecting(*peers)
    for peer in peers:
        session.handle(ConnectionsEstablished(peer), 0.0)
    return session


def test_a_newcomer_is_told_that_others_train() -> None:
    session = trained(A, B)
    assert told(after(session, Joined(C)))[C] == [PeerWelcome(C, False, 3, True)]


def test_a_newcomer_is_not_behind_when_all_who_trained_have_left() -> None:
    session = trained(A, B)
    after(session, Left(A), Left(B))
    assert told(after(session, Joined(C)))[C] == [PeerWelcome(C, True, 1, False)]


def test_the_first_that_was_connected_provides_the_model() -> None:
    session = trained(B, A)
    assert after(session, Joined(C), ModelSyncRequested(C)) == [
        Send((C,), ModelProvider(B)),
        Send((B,), ModelWanted(C)),
    ]


def test_a_provider_that_leaves_is_replaced() -> None:
    session = trained(A, B)
    after(session, Joined(C), ModelSyncRequested(C))
    heard = told(after(session, Left(A)))
    assert heard[C][-1] == ModelProvider(B)
    assert heard[B][-1] == ModelWanted(C)


def test_a_provider_that_fetches_the_model_itself_is_replaced() -> None:
    session = trained(A, B)
    after(session, Joined(C), ModelSyncRequested(C))
    heard = told(after(session, ModelSyncRequested(A)))
    assert heard == {C: [ModelProvider(B)], A: [ModelProvider(B)], B: [ModelWanted(C), ModelWanted(A)]}


def test_without_a_provider_a_newcomer_waits_for_one() -> None:
    session = session_of(Policy.all_present(2), A)
    assert after(session, ModelSyncRequested(A)) == []
    heard = told(after(session, Joined(B)))
    assert heard[A][-1] == ModelProvider(B)
    assert heard[B][-1] == ModelWanted(A)


def test_a_provider_that_leaves_after_the_model_arrived_is_not_replaced() -> None:
    session = trained(A, B)
    after(session, Joined(C), ModelSyncRequested(C), RoundJoined(C))
    assert ModelProvider(B) not in told(after(session, Left(A)))[C]


# ── Policies ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("minimum", [0, -1, 257])
def test_a_minimum_that_no_round_can_have_is_refused(minimum: int) -> None:
    with pytest.raises(ValueError, match="minimum must be"):
        Policy.first_ready(minimum)


def test_a_barrier_without_rounds_of_all_present_is_refused() -> None:
    with pytest.raises(ValueError, match="a barrier needs"):
        Policy(2, Formation.FIRST_READY, Announcements.NONE, barrier=LIMITS)


@pytest.mark.parametrize(("seconds", "retries"), [(0, 1), (math.inf, 1), (math.nan, 1), (1, -1)])
def test_barrier_limits_out_of_range_are_refused(seconds: float, retries: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        BarrierLimits(seconds, retries)


def test_those_who_are_ready_make_their_round_in_the_step_that_excludes_who_kept_them_waiting() -> None:
    limits = BarrierLimits(max_connection_seconds=10, max_retries=1)
    session = DecentralizedSession(Policy.all_present(1, barrier=limits, max_peers=6))
    slow, ready = ParticipantID("slow"), ParticipantID("ready")
    for event in (Joined(slow), BecameReady(slow), Joined(ready), BecameReady(ready)):
        session.handle(event, 0.0)
    session.handle(Ticked(), 10.0)
    effects = session.handle(Ticked(), 20.0)
    assert effects == [
        Send((slow,), ConnectionsFailed()),
        Send((ready,), PeersForRound((), 1, 2)),
    ]
