"""Everything that can be said in masked rounds, for Hypothesis and the fuzzer."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec.structs import replace

from disco.core import events, messages
from disco.core.events import Event
from disco.core.masking import words
from disco.core.messages import Message, Outcome
from disco.core.names import ParticipantID
from tests.wire.strategies import SENDER, alike, counts, identifiers, peers, rounds, weights
from tests.wire.strategies import words as texts

keys32 = st.binary(min_size=32, max_size=32)
keys = st.builds(words.Keys, keys32, keys32, keys32)
shares = st.dictionaries(peers, st.binary(min_size=66, max_size=66), max_size=4)
sealed = st.dictionaries(peers, st.binary(min_size=148, max_size=148), max_size=4)
integers = st.lists(st.integers(0, 2**32 - 1), max_size=9).map(lambda values: np.array(values, dtype="<u4"))

SAID_BY_PARTICIPANTS: SearchStrategy[Event] = st.one_of(
    st.builds(events.Joined, st.just(SENDER), st.just(True), st.none() | identifiers),
    st.builds(words.KeysAdvertised, st.just(SENDER), rounds, keys),
    st.builds(words.SharesSent, st.just(SENDER), counts, sealed),
    st.builds(words.MaskedContributed, st.just(SENDER), counts, integers),
    st.builds(words.SharesRevealed, st.just(SENDER), counts, shares, shares),
)
SAID_BY_SERVERS: SearchStrategy[Message] = st.one_of(
    st.builds(messages.Welcome, peers, rounds.filter(bool), weights(), st.booleans(), counts, texts),
    st.builds(messages.GlobalModel, rounds, weights(), counts, st.just(True)),
    st.builds(messages.Verdict, rounds, st.sampled_from(Outcome), texts),
    st.builds(messages.TrainingEnded, rounds, texts),
    st.builds(messages.WaitingForMore, counts),
    st.builds(messages.Enough, counts),
    st.builds(messages.ParticipantsChanged, counts),
    st.builds(words.Roster, rounds, counts, st.dictionaries(peers, keys, max_size=4)),
    st.builds(words.SharesRelayed, counts, sealed),
    st.builds(words.Survivors, counts, st.lists(peers, max_size=4).map(tuple)),
    st.builds(words.RoundAbandoned, rounds, texts),
)


def the_same(left: object, right: object) -> bool:
    """Tell whether two events or messages say the same, contributions compared by value."""
    if isinstance(left, words.MaskedContributed) and isinstance(right, words.MaskedContributed):
        nothing = np.zeros(0, dtype=np.uint32)
        if not np.array_equal(left.masked, right.masked):
            return False
        left, right = (replace(each, masked=nothing) for each in (left, right))
        return (left.participant, left.attempt) == (right.participant, right.attempt)
    return alike(left, right)


def examples() -> tuple[list[Event], list[Message]]:
    """One of each, always the same."""
    me, key = ParticipantID("2f0c4b1e-7a53-4c8e-9f6d-0a1b2c3d4e5f"), bytes(range(32))
    some = words.Keys(key, key, key)
    said: list[Event] = [
        events.Joined(me, True, ParticipantID("earlier")),
        words.KeysAdvertised(me, 1, some),
        words.SharesSent(me, 1, {me: bytes(148)}),
        words.MaskedContributed(me, 1, np.arange(5, dtype="<u4")),
        words.SharesRevealed(me, 1, {me: bytes(66)}, {}),
    ]
    answers: list[Message] = [
        words.Roster(1, 1, {me: some}),
        words.SharesRelayed(1, {me: bytes(148)}),
        words.Survivors(1, (me,)),
        words.RoundAbandoned(1, "too few"),
    ]
    return said, answers
