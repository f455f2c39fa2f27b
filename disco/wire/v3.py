"""DISCO's wire of 2024: integer types, packed weights, global models that are pushed.

`Payload` (6) travels between peers only. Numbers of participants are told with models, nowhere else.

Source: DISCO v3 wire, discojs 3.x.
"""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from disco.core import events, messages
from disco.core.events import Event
from disco.core.messages import Message
from disco.core.names import ParticipantID, Scheme, TaskID
from disco.errors import InvalidUpdate, ProtocolViolation
from disco.wire import v3_words as words
from disco.wire.dialect import Buffer, Encoded, Form, WeightsForm, whole
from disco.wire.envelope import pack_model_word, pack_word, unopened, unpack, vocabulary
from disco.wire.tensors import read_weights, write_weights

NAME: Final = "v3"
PUSHES: Final = True
IN_PLACE = True
FORM: Final = Form(WeightsForm.PACKED)

# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────

_FROM_CLIENT = {
    Scheme.FEDERATED: vocabulary(words.ClientConnected, words.SendPayload),
    Scheme.DECENTRALIZED: vocabulary(
        words.ClientConnected, words.JoinRound, words.PeerIsReady, words.SignalForPeer
    ),
}
_FROM_SERVER = {
    Scheme.FEDERATED: vocabulary(
        words.NewFederatedNodeInfo,
        words.ReceiveServerPayload,
        words.WaitingForMoreParticipants,
        words.EnoughParticipants,
    ),
    Scheme.DECENTRALIZED: vocabulary(
        words.NewDecentralizedNodeInfo,
        words.PeersForRound,
        words.SignalForPeer,
        words.WaitingForMoreParticipants,
        words.EnoughParticipants,
    ),
}


def decode(data: Buffer, sender: ParticipantID, scheme: Scheme, form: Form) -> tuple[Event, Form]:
    """Read one message of a client; see `Dialect.decode`."""
    match message := unpack(_FROM_CLIENT[scheme], data):
        case words.SendPayload():
            try:
                weights, _ = read_weights(message.payload, "payload")
            except InvalidUpdate as error:
                return events.Misdelivered(sender, str(error)), form
            return events.Contributed(sender, message.round, weights), form
        case words.JoinRound():
            return events.RoundJoined(sender), form
        case words.PeerIsReady():
            return events.BecameReady(sender), form
        case words.SignalForPeer():
            to, signal = message.peer, unopened(message.signal, "signal")
            return events.Signalled(sender, to, signal), form
    return events.Joined(sender, pushed=PUSHES), form


def parse(data: Buffer, scheme: Scheme) -> Message:
    """Read one message of the server; see `Dialect.parse`."""
    match message := unpack(_FROM_SERVER[scheme], data):
        case words.NewFederatedNodeInfo():
            weights, _ = read_weights(message.payload, "payload")
            participant, waiting = message.id, message.waitForMoreParticipants
            return messages.Welcome(participant, message.round, weights, waiting, message.nbOfParticipants)
        case words.ReceiveServerPayload():
            weights, _ = read_weights(message.payload, "payload")
            return messages.GlobalModel(message.round, weights, message.nbOfParticipants, pushed=True)
        case words.WaitingForMoreParticipants():
            return messages.WaitingForMore(participants=0)
        case words.EnoughParticipants():
            return messages.Enough(participants=0)
        case words.PeersForRound():
            return messages.PeersForRound(tuple(message.peers), message.aggregationRound)
        case words.SignalForPeer():
            return messages.Signal(message.peer, unopened(message.signal, "signal"))
    waiting = message.waitForMoreParticipants
    return messages.PeerWelcome(message.id, waiting, participants=0, mid_training=False)


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────


def encode(message: Message, task: TaskID, form: Form) -> Encoded | None:
    """Write one message to a client; see `Dialect.encode`."""
    match message:
        case messages.Welcome():
            return pack_model_word(
                words.NewFederatedNodeInfo,
                id=message.participant,
                waitForMoreParticipants=message.waiting,
                payload=write_weights(message.weights, form.weights),
                round=message.round,
                nbOfParticipants=message.participants,
            )
        case messages.GlobalModel():
            return pack_model_word(
                words.ReceiveServerPayload,
                payload=write_weights(message.weights, form.weights),
                round=message.round,
                nbOfParticipants=message.participants,
            )
        case messages.WaitingForMore():
            return pack_word(words.WaitingForMoreParticipants())
        case messages.Enough():
            return pack_word(words.EnoughParticipants())
        case messages.PeerWelcome():
            return pack_word(
                words.NewDecentralizedNodeInfo(
                    id=message.participant, waitForMoreParticipants=message.waiting
                )
            )
        case messages.PeersForRound():
            return pack_word(words.PeersForRound(peers=message.peers, aggregationRound=message.round))
        case messages.Signal():
            return pack_word(words.SignalForPeer(peer=message.sender, signal=Raw(message.signal)))
    return None


def compose(event: Event, task: TaskID, form: Form) -> bytes:
    """Write one message of a client; see `Dialect.compose`."""
    match event:
        case events.Joined():
            return pack_word(words.ClientConnected())
        case events.Contributed():
            payload = write_weights(event.update, form.weights)
            return whole(pack_model_word(words.SendPayload, payload=payload, round=event.round))
        case events.RoundJoined():
            return pack_word(words.JoinRound())
        case events.BecameReady():
            return pack_word(words.PeerIsReady())
        case events.Signalled():
            return pack_word(words.SignalForPeer(peer=event.to, signal=Raw(event.signal)))
    raise ProtocolViolation(f"v3 has no word for {type(event).__name__}")
