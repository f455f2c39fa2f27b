"""The dialect of masked rounds: nothing is lost on the way, and nothing that comes breaks it."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.core import events, messages
from disco.core.events import Event, Misdelivered
from disco.core.masking import words
from disco.core.masking.quantization import MAX_MEMBERS
from disco.core.messages import Message
from disco.core.names import ParticipantID, Scheme
from disco.core.weights import Weights
from disco.errors import MalformedMessage, ProtocolViolation
from disco.wire import DIALECTS, detect, masked
from disco.wire.dialect import whole
from tests.masking.words import SAID_BY_PARTICIPANTS, SAID_BY_SERVERS, examples, the_same
from tests.wire.strategies import SENDER, TASK, objects

KEY, SHARE, SEALED = bytes(32), bytes(66), bytes(148)


def decode(data: bytes, scheme: Scheme = Scheme.FEDERATED) -> Event:
    return masked.decode(data, SENDER, scheme, masked.FORM)[0]


def refusal(**fields: Any) -> str:
    with pytest.raises(MalformedMessage) as caught:
        decode(msgpack.packb(fields))
    return str(caught.value)


@given(SAID_BY_PARTICIPANTS)
def test_what_a_participant_says_is_understood(event: Event) -> None:
    assert the_same(decode(masked.compose(event, TASK, masked.FORM)), event)


@given(SAID_BY_SERVERS)
def test_what_a_server_says_is_understood(message: Message) -> None:
    encoded = masked.encode(message, TASK, masked.FORM)
    assert encoded is not None
    assert the_same(masked.parse(whole(encoded), Scheme.FEDERATED), message)


def test_a_newcomer_of_round_0_keeps_the_model_it_has() -> None:
    welcome = masked.encode(messages.Welcome(SENDER, 0, Weights.zeros([(2,)]), True, 1), TASK, masked.FORM)
    assert welcome is not None
    assert msgpack.unpackb(whole(welcome))["payload"] is None
    assert the_same(
        masked.parse(whole(welcome), Scheme.FEDERATED), messages.Welcome(SENDER, 0, Weights((), ()), True, 1)
    )


def test_a_masked_contribution_is_read_where_it_lies() -> None:
    sent = words.MaskedContributed(SENDER, 1, np.arange(1000, dtype="<u4"))
    data = masked.compose(sent, TASK, masked.FORM)
    event = decode(data)
    assert isinstance(event, words.MaskedContributed)
    assert np.shares_memory(event.masked, np.frombuffer(data, dtype=np.uint8))
    assert len(data) - 4000 < 50


def test_the_first_message_tells_the_dialect() -> None:
    assert detect(masked.compose(events.Joined(SENDER), TASK, masked.FORM)) is masked
    assert masked.NAME not in DIALECTS


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"type": "SendPayload", "round": 0, "payload": b""}, "type: invalid value 'SendPayload'"),
        ({"type": "AdvertiseKeys", "round": -1, "maskKey": KEY, "shareKey": KEY, "seal": KEY}, "round"),
        ({"type": "AdvertiseKeys", "round": 0, "maskKey": b"", "shareKey": KEY, "seal": KEY}, "maskKey"),
        (
            {"type": "AdvertiseKeys", "round": 0, "maskKey": KEY, "shareKey": KEY + b"1", "seal": KEY},
            "shareKey",
        ),
        ({"type": "AdvertiseKeys", "round": 0, "maskKey": KEY, "shareKey": KEY}, "seal"),
        ({"type": "ShareSecrets", "attempt": 1, "shares": {"a": SHARE}}, "shares"),
        ({"type": "ShareSecrets", "attempt": 1, "shares": {"": SEALED}}, "shares"),
        ({"type": "ShareSecrets", "attempt": 1, "shares": {"a" * 65: SEALED}}, "shares"),
        (
            {
                "type": "ShareSecrets",
                "attempt": 1,
                "shares": {str(n): SEALED for n in range(MAX_MEMBERS + 1)},
            },
            "shares",
        ),
        ({"type": "RevealShares", "attempt": 1, "seeds": {"a": SEALED}, "maskKeys": {}}, "seeds"),
        ({"type": "RevealShares", "attempt": 1, "seeds": {}}, "maskKeys"),
        ({"type": "MaskedUpdate", "masked": b""}, "attempt"),
        ({"type": "JoinMasked", "participant": "x" * 65}, "participant"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_field(fields: dict[str, Any], why: str) -> None:
    assert why in refusal(**fields)


@pytest.mark.parametrize(
    ("masked_", "why"),
    [
        ([1, 2], "masked is an array, expected bytes"),
        (b"123", "masked has 3 bytes, which are no integers of 4 bytes"),
        (None, "masked is nil, expected bytes"),
    ],
)
def test_a_contribution_that_cannot_be_read_costs_no_connection(masked_: object, why: str) -> None:
    event = decode(msgpack.packb({"type": "MaskedUpdate", "attempt": 1, "masked": masked_}))
    assert event == Misdelivered(SENDER, why)


def test_a_contribution_without_integers_costs_no_connection() -> None:
    event = decode(msgpack.packb({"type": "MaskedUpdate", "attempt": 1}))
    assert event == Misdelivered(SENDER, "masked is missing")


def test_a_roster_that_names_a_member_twice_is_refused() -> None:
    member = ["a", KEY, KEY, KEY]
    data = msgpack.packb({"type": "Roster", "round": 0, "attempt": 1, "members": [member, member]})
    with pytest.raises(MalformedMessage, match="named twice"):
        masked.parse(data, Scheme.FEDERATED)


def test_peers_do_not_speak_it() -> None:
    with pytest.raises(MalformedMessage, match="federated training only"):
        decode(masked.compose(events.Joined(SENDER), TASK, masked.FORM), Scheme.DECENTRALIZED)


def test_it_has_no_word_for_a_plain_contribution() -> None:
    with pytest.raises(ProtocolViolation, match="no masked Contributed"):
        masked.compose(events.Contributed(SENDER, 0, Weights((), ())), TASK, masked.FORM)


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("message", examples()[1], ids=lambda message: type(message).__name__)
def test_other_dialects_have_no_word_for_what_is_said_in_masked_rounds(name: str, message: Message) -> None:
    assert DIALECTS[name].encode(message, TASK, DIALECTS[name].FORM) is None


@pytest.mark.parametrize("message", [messages.Statistics(1, 2, 3, 4.0), messages.PeersForRound((), 0)])
def test_it_has_no_word_for_what_others_ask(message: Message) -> None:
    assert masked.encode(message, TASK, masked.FORM) is None


def either_way(data: bytes) -> None:
    """Let any other exception through."""
    for read in (decode, lambda value: masked.parse(value, Scheme.FEDERATED)):
        try:
            read(data)
        except MalformedMessage:
            continue


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    either_way(data)


TYPES = [
    *(type_.__name__ for type_ in (words.Roster, words.Survivors, words.RoundAbandoned)),
    *(
        "JoinMasked",
        "AdvertiseKeys",
        "ShareSecrets",
        "MaskedUpdate",
        "RevealShares",
        "RelayShares",
        "NewModel",
    ),
]
FIELDS = [
    "round",
    "attempt",
    "shares",
    "masked",
    "seeds",
    "maskKeys",
    "members",
    "survivors",
    "payload",
    "seal",
]


@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(FIELDS), objects, max_size=5))
def test_any_fields_are_a_message_or_refused(type_: str, fields: dict[str, Any]) -> None:
    either_way(msgpack.packb({"type": type_, **fields}))


@pytest.mark.parametrize("event", examples()[0], ids=lambda event: type(event).__name__)
def test_a_message_that_is_cut_short_is_refused(event: Event) -> None:
    whole = masked.compose(event, TASK, masked.FORM)
    for length in range(len(whole)):
        with pytest.raises(MalformedMessage):
            decode(whole[:length])


def test_ids_are_kept_as_they_are() -> None:
    event = decode(
        msgpack.packb({"type": "RevealShares", "attempt": 1, "seeds": {"ä": SHARE}, "maskKeys": {}})
    )
    assert isinstance(event, words.SharesRevealed)
    assert event.seeds == {ParticipantID("ä"): SHARE}
