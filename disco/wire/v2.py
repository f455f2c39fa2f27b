"""DISCO's wire of 2022 and 2023: integer types, weights as arrays of bytes, models that are asked for.

`type` may also be a message's name, a courtesy to hand-written clients; they are answered in kind. A client's
weights may come in any form and are answered in the same. What a message says about its sender and its task is
ignored: the connection knows better. Messages between peers (5, 6, 7) are not for the server; nobody sends 12.

Source: DISCO v2 wire, as spoken by npm's ``@epfml/discojs-node`` 2.1.1.
"""

from __future__ import annotations

import contextlib
import types
from typing import Any, Final, TypeAlias, cast

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from disco.core import events, messages
from disco.core.events import Event
from disco.core.messages import Message
from disco.core.names import ParticipantID, Scheme, TaskID
from disco.core.weights import Weights
from disco.errors import InvalidUpdate, MalformedMessage, ProtocolViolation
from disco.wire import v2_words as words
from disco.wire.dialect import Buffer, Encoded, Form, WeightsForm
from disco.wire.envelope import (
    LARGEST_INTEGER,
    Word,
    message_type,
    pack,
    pack_model,
    unopened,
    unpack,
    vocabulary,
)
from disco.wire.integers import Octets
from disco.wire.tensors import decode_weights, lift, read_weights, write_weights
from disco.wire.v2_words import Code

NAME: Final = "v2"
PUSHES: Final = False
IN_PLACE = False
FORM: Final = Form(WeightsForm.INTEGERS)

# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────

_Decoders: TypeAlias = "tuple[msgspec.msgpack.Decoder[Any], msgspec.msgpack.Decoder[Any]]"


def _decoders(*messages: type[Word]) -> _Decoders:
    """Make decoders of these messages: by their codes, and by their names."""
    named = []
    for message in messages:
        name = Code(cast("int", message.__struct_config__.tag)).name
        named.append(types.new_class(name, (message,), {"tag": name}))
    return vocabulary(*messages), vocabulary(*named)


_FROM_CLIENT = {
    Scheme.FEDERATED: _decoders(
        words.ClientConnected,
        words.PostWeights,
        words.AskModel,
        words.AskStatistics,
        words.PostMetadata,
        words.AskMetadata,
    ),
    Scheme.DECENTRALIZED: _decoders(words.ClientConnected, words.PeerIsReady, words.SignalForPeer),
}
_FROM_SERVER = {
    Scheme.FEDERATED: _decoders(words.ClientConnected, words.Model, words.Statistics, words.MetadataMap),
    Scheme.DECENTRALIZED: _decoders(words.PeerID, words.PeersForRound, words.SignalForPeer),
}


def _read(decoders: _Decoders, data: Buffer) -> tuple[Any, bool]:
    """Read one message, and tell whether its type was a name."""
    coded, named = decoders
    try:
        return unpack(coded, data), False
    except MalformedMessage:
        if not isinstance(message_type(data), str):
            raise
    return unpack(named, data), True


def _read_weights_first(decoders: _Decoders, data: Buffer) -> tuple[Any, bool, Octets | None]:
    """Read one message as `_read` does, and its weights where they could be read before the rest."""
    lifted = lift(data, "weights")
    if lifted is not None:
        with contextlib.suppress(MalformedMessage):  # of which the message as it came says what it is
            message, named = _read(decoders, lifted.rest)
            if lifted.belongs(getattr(message, "weights", None)):
                return message, named, lifted.octets
    return *_read(decoders, data), None


def decode(data: Buffer, sender: ParticipantID, scheme: Scheme, form: Form) -> tuple[Event, Form]:
    """Read one message of a client; see `Dialect.decode`."""
    message, named, octets = _read_weights_first(_FROM_CLIENT[scheme], data)
    form = replace(form, named=named)
    match message:
        case words.PostWeights():
            try:
                weights, form_of_weights = _weights(message.weights, octets)
            except InvalidUpdate as error:
                return events.Misdelivered(sender, str(error)), form
            return events.Contributed(sender, message.round, weights), replace(form, weights=form_of_weights)
        case words.AskModel():
            return events.ModelRequested(sender), form
        case words.AskStatistics():
            return events.StatisticsRequested(sender), form
        case words.PostMetadata():
            return events.MetadataPosted(sender, message.round, message.metadataId, message.metadata), form
        case words.AskMetadata():
            return events.MetadataRequested(sender, message.round, message.metadataId), form
        case words.PeerIsReady():
            return events.BecameReady(sender), form
        case words.SignalForPeer():
            return events.Signalled(sender, _id(message.peer), unopened(message.signal, "signal")), form
    return events.Joined(sender, pushed=PUSHES), form


def parse(data: Buffer, scheme: Scheme) -> Message:
    """Read one message of the server; see `Dialect.parse`. The echo of `clientConnected` is an empty `Welcome`."""
    message, _, octets = _read_weights_first(_FROM_SERVER[scheme], data)
    match message:
        case words.Model():
            weights, _ = _weights(message.weights, octets)
            return messages.GlobalModel(message.round, weights, participants=0, pushed=False)
        case words.Statistics(statistics=figures):
            return messages.Statistics(
                figures.round,
                figures.currentNumberOfParticipants,
                figures.totalNumberOfParticipants,
                figures.averageNumberOfParticipants,
            )
        case words.MetadataMap():
            entries = tuple((ParticipantID(sender), value) for sender, value in message.metadataMap)
            task, asker = TaskID(message.taskId), ParticipantID(message.clientId)
            return messages.Metadata(task, asker, message.round, message.metadataId, entries)
        case words.PeerID():
            return messages.PeerWelcome(_id(message.id), waiting=False, participants=0, mid_training=False)
        case words.PeersForRound():
            return messages.PeersForRound(tuple(map(_id, message.peers)), round=0)
        case words.SignalForPeer():
            return messages.Signal(_id(message.peer), unopened(message.signal, "signal"))
    return messages.Welcome(ParticipantID(""), 0, Weights((), ()), waiting=False, participants=0)


def _weights(value: Raw, octets: Octets | None) -> tuple[Weights, WeightsForm]:
    """Read weights, of which the integers may have been read."""
    if octets is None:
        return read_weights(value, "weights")
    return decode_weights(octets.data, "weights")[0], WeightsForm.INTEGERS


def _id(number: int) -> ParticipantID:
    """Return the ID of a peer that is a number on the wire."""
    return ParticipantID(str(number))


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────


def encode(message: Message, task: TaskID, form: Form) -> Encoded | None:
    """Write one message to a client; see `Dialect.encode`. Nothing is pushed to this generation."""
    match message:
        case messages.Welcome():
            return _pack(form, Code.clientConnected)
        case messages.GlobalModel(pushed=False):
            weights = write_weights(message.weights, form.weights)
            return pack_model(_fields(form, Code.latestServerRound, round=message.round, weights=weights))
        case messages.Statistics():
            return _pack(form, Code.pullServerStatistics, statistics=_figures(message))
        case messages.Metadata():
            return _pack(
                form,
                Code.getMetadataMap,
                clientId=message.participant,
                taskId=task,
                metadataId=message.name,
                round=message.round,
                metadataMap=message.entries,
            )
        case messages.PeerWelcome():
            return _pack(form, Code.PeerID, id=_number(message.participant))
        case messages.PeersForRound():
            return _pack(form, Code.PeersForRound, peers=[_number(peer) for peer in message.peers])
        case messages.Signal():
            signal = Raw(message.signal)
            return _pack(form, Code.SignalForPeer, peer=_number(message.sender), signal=signal)
    return None


def _figures(statistics: messages.Statistics) -> dict[str, float]:
    """Write the map of statistics; a whole average as an integer, as JavaScript does."""
    average = statistics.average
    whole = average.is_integer() and abs(average) <= LARGEST_INTEGER
    return {
        "round": statistics.round,
        "currentNumberOfParticipants": statistics.present,
        "totalNumberOfParticipants": statistics.total,
        "averageNumberOfParticipants": int(average) if whole else average,
    }


def compose(event: Event, task: TaskID, form: Form) -> bytes:
    """Write one message of a client; see `Dialect.compose`."""
    match event:
        case events.Joined():
            return _pack(form, Code.clientConnected)
        case events.Contributed():
            weights = write_weights(event.update, form.weights)
            return _pack(form, Code.postWeightsToServer, weights=weights, round=event.round)
        case events.ModelRequested():
            return _pack(form, Code.latestServerRound)
        case events.StatisticsRequested():
            return _pack(form, Code.pullServerStatistics)
        case events.MetadataPosted():
            about = _about(event, task)
            return _pack(form, Code.postMetadata, **about, metadata=event.value)
        case events.MetadataRequested():
            return _pack(form, Code.getMetadataMap, **_about(event, task))
        case events.BecameReady():
            return _pack(form, Code.PeerIsReady)
        case events.Signalled():
            return _pack(form, Code.SignalForPeer, peer=_number(event.to), signal=Raw(event.signal))
    raise ProtocolViolation(f"v2 has no word for {type(event).__name__}")


def _about(event: events.MetadataPosted | events.MetadataRequested, task: TaskID) -> dict[str, Any]:
    """Write which metadata is meant."""
    return {"taskId": task, "clientId": event.participant, "round": event.round, "metadataId": event.name}


def _number(peer: ParticipantID) -> int:
    """Return the number that a peer of this generation is on the wire.

    Raises:
        ProtocolViolation: it is of another generation, with which this one cannot talk.
    """
    if peer.isascii() and peer.isdigit() and int(peer) <= LARGEST_INTEGER:
        return int(peer)
    raise ProtocolViolation("v2 numbers its peers, and this one has no number")


def _pack(form: Form, code: Code, **fields: Any) -> bytes:
    """Write one message with its type first."""
    return pack(_fields(form, code, **fields))


def _fields(form: Form, code: Code, **fields: Any) -> dict[str, Any]:
    return {"type": code.name if form.named else code.value, **fields}
