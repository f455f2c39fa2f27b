"""The dialect of masked rounds, for participants that mask; it is Disco's own, and DISCO's clients do not speak it.

    participant                                  server
    JoinMasked                                   MaskedWelcome
    AdvertiseKeys   with a contribution at hand  Roster          who the members of the round are
    ShareSecrets                                 RelayShares     who masks
    MaskedUpdate                                 Survivors       whose contributions are in the sum
    RevealShares                                 ContributionVerdict, NewModel

It is spoken on the path of v4, from which its first message tells it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from msgspec import Raw

from disco.core import events, messages
from disco.core.events import Event
from disco.core.masking import words as said
from disco.core.messages import Message
from disco.core.names import ParticipantID, Scheme, TaskID
from disco.core.weights import Weights
from disco.errors import InvalidUpdate, MalformedMessage, ProtocolViolation
from disco.wire import masked_words as words
from disco.wire.dialect import Buffer, Encoded, Form, WeightsForm, whole
from disco.wire.envelope import Spliced, Word, pack_model_word, pack_word, unpack, vocabulary
from disco.wire.headers import Kind, bin_header, read_header
from disco.wire.tensors import read_weights, write_weights

NAME: Final = "masked"
PUSHES: Final = True
IN_PLACE = True
FORM: Final = Form(WeightsForm.PACKED, verdicts=True)

#: The type by which a connection's first message tells this dialect.
HELLO: Final = words.JoinMasked.__name__

_COUNTED: dict[type[Word], Callable[[int], Message]] = {
    words.WaitingForMore: messages.WaitingForMore,
    words.Enough: messages.Enough,
    words.ParticipantsChanged: messages.ParticipantsChanged,
}
_WORD_FOR: dict[Any, type[Word]] = {meaning: word for word, meaning in _COUNTED.items()}

_FROM_PARTICIPANT = vocabulary(
    words.JoinMasked, words.AdvertiseKeys, words.ShareSecrets, words.MaskedUpdate, words.RevealShares
)
_FROM_SERVER = vocabulary(
    words.MaskedWelcome,
    words.Roster,
    words.RelayShares,
    words.Survivors,
    words.RoundAbandoned,
    words.NewModel,
    words.ContributionVerdict,
    words.TrainingEnded,
    *_COUNTED,
)

# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────


def decode(data: Buffer, sender: ParticipantID, scheme: Scheme, form: Form) -> tuple[Event, Form]:
    """Read one message of a participant; see `Dialect.decode`. A masked contribution is a view into `data`."""
    if scheme is not Scheme.FEDERATED:
        raise MalformedMessage("type: contributions are masked in federated training only")
    match message := unpack(_FROM_PARTICIPANT, data):
        case words.JoinMasked():
            return events.Joined(sender, PUSHES, message.participant), form
        case words.AdvertiseKeys():
            keys = said.Keys(message.maskKey, message.shareKey, message.seal)
            return said.KeysAdvertised(sender, message.round, keys), form
        case words.ShareSecrets():
            return said.SharesSent(sender, message.attempt, message.shares), form
        case words.RevealShares():
            return said.SharesRevealed(sender, message.attempt, message.seeds, message.maskKeys), form
    try:
        return said.MaskedContributed(sender, message.attempt, _read_masked(message.masked)), form
    except InvalidUpdate as error:
        return events.Misdelivered(sender, str(error)), form


def _read_masked(value: Raw) -> said.Words32:
    view = memoryview(value)
    if not view.nbytes:
        raise InvalidUpdate("masked is missing")
    header = read_header(view)
    if header.kind is not Kind.BIN:
        raise InvalidUpdate(f"masked is {header.kind}, expected bytes")
    if header.length % 4:
        raise InvalidUpdate(f"masked has {header.length} bytes, which are no integers of 4 bytes")
    return np.frombuffer(view, dtype=np.uint8)[header.start :].view("<u4")


def parse(data: Buffer, scheme: Scheme) -> Message:
    """Read one message of the server; see `Dialect.parse`. Without a payload, the weights have no tensors."""
    message = unpack(_FROM_SERVER, data)
    if counted := _COUNTED.get(type(message)):
        return counted(message.participants)
    match message:
        case words.MaskedWelcome():
            nothing = read_header(memoryview(message.payload)).kind is Kind.NIL
            weights = Weights((), ()) if nothing else read_weights(message.payload, "payload")[0]
            me, count = message.id, message.participants
            return messages.Welcome(me, message.round, weights, message.waiting, count, message.ended)
        case words.NewModel():
            weights, _ = read_weights(message.payload, "payload")
            return messages.GlobalModel(message.round, weights, message.participants, pushed=True)
        case words.ContributionVerdict():
            return messages.Verdict(message.round, message.outcome, message.reason)
        case words.TrainingEnded():
            return messages.TrainingEnded(message.round, message.reason)
    return _parse_phase(message)


def _parse_phase(message: Any) -> Message:
    """Translate a message that asks for the next phase."""
    match message:
        case words.Roster():
            members = {name: said.Keys(*keys) for name, *keys in message.members}
            if len(members) != len(message.members):
                raise MalformedMessage("members: one is named twice")
            return said.Roster(message.round, message.attempt, members)
        case words.RelayShares():
            return said.SharesRelayed(message.attempt, message.shares)
        case words.Survivors():
            return said.Survivors(message.attempt, tuple(message.survivors))
    return said.RoundAbandoned(message.round, message.reason)


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────


def encode(message: Message, task: TaskID, form: Form) -> Encoded | None:
    """Write one message to a participant; see `Dialect.encode`."""
    match message:
        case messages.Welcome():
            return pack_model_word(
                words.MaskedWelcome,
                id=message.participant,
                waiting=message.waiting,
                # The participant fetches the first model over HTTP, as everybody does.
                payload=write_weights(message.weights, form.weights) if message.round else None,
                round=message.round,
                participants=message.participants,
                ended=message.ended,
            )
        case messages.GlobalModel():
            payload = write_weights(message.weights, form.weights)
            count = message.participants
            return pack_model_word(words.NewModel, payload=payload, round=message.round, participants=count)
        case messages.Verdict(round_, outcome, reason):
            return pack_word(words.ContributionVerdict(round=round_, outcome=outcome, reason=reason))
        case messages.TrainingEnded(round_, reason):
            return pack_word(words.TrainingEnded(round=round_, reason=reason))
        case messages.WaitingForMore() | messages.Enough() | messages.ParticipantsChanged():
            return pack_word(_WORD_FOR[type(message)](participants=message.participants))
        case said.MaskedMessage():
            return _encode_phase(message)
    return None


def _encode_phase(message: said.MaskedMessage) -> bytes | None:
    """Write a message that asks for the next phase."""
    match message:
        case said.Roster(round_, attempt, members):
            listed = [(name, keys.mask_key, keys.share_key, keys.seal) for name, keys in members.items()]
            return pack_word(words.Roster(round=round_, attempt=attempt, members=listed))
        case said.SharesRelayed(attempt, shares):
            return pack_word(words.RelayShares(attempt=attempt, shares=shares))
        case said.Survivors(attempt, survivors):
            return pack_word(words.Survivors(attempt=attempt, survivors=survivors))
        case said.RoundAbandoned(round_, reason):
            return pack_word(words.RoundAbandoned(round=round_, reason=reason))
    return None


def compose(event: Event, task: TaskID, form: Form) -> bytes:
    """Write one message of a participant; see `Dialect.compose`."""
    match event:
        case events.Joined():
            return pack_word(words.JoinMasked(participant=event.identity))
        case said.KeysAdvertised(round=round_, keys=keys):
            return pack_word(
                words.AdvertiseKeys(
                    round=round_, maskKey=keys.mask_key, shareKey=keys.share_key, seal=keys.seal
                )
            )
        case said.SharesSent(attempt=attempt, shares=shares):
            return pack_word(words.ShareSecrets(attempt=attempt, shares=shares))
        case said.MaskedContributed(attempt=attempt, masked=masked):
            octets = np.ascontiguousarray(masked, dtype="<u4").view(np.uint8)
            spliced = Spliced((bin_header(octets.size), octets.data))
            return whole(pack_model_word(words.MaskedUpdate, attempt=attempt, masked=spliced))
        case said.SharesRevealed(attempt=attempt, seeds=seeds, mask_keys=mask_keys):
            return pack_word(words.RevealShares(attempt=attempt, seeds=seeds, maskKeys=mask_keys))
    raise ProtocolViolation(f"there is no masked {type(event).__name__}")
