"""DISCO's wire of today: types by name, packed weights, pushed models, participants that are counted.

`Payload` and `SharedModel` travel between peers only. Python participants add optional fields and two messages,
which they ask for when they say hello; other clients neither send nor see them:

    ClientConnected      extensions: ["verdicts"]   be told what became of each contribution
                         participant: string        an ID it had before
    SendPayload          key: string                the same contribution sent again has the same key
                         samples: number            examples that it was trained on
                         metrics: {name: number}    the participant's own figures
    ContributionVerdict  round, outcome, reason, key
    NewFederatedNodeInfo ended: string              why the training has ended, if it has
    TrainingEnded        round, reason              it has ended with this round's model; reason "": it goes on

Source: DISCO v4 wire, discojs of 2026.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from msgspec import Raw
from msgspec.structs import replace

from disco.core import events, messages
from disco.core.evaluation import require_figures
from disco.core.events import Event
from disco.core.masking.words import MaskedMessage
from disco.core.messages import Message
from disco.core.names import ParticipantID, Scheme, TaskID
from disco.core.weights import Weights
from disco.errors import InvalidFigures, InvalidUpdate, ProtocolViolation, Refused
from disco.wire import v4_words as words
from disco.wire.dialect import Buffer, Encoded, Form, WeightsForm, whole
from disco.wire.envelope import Word, pack_model_word, pack_word, unopened, unpack, vocabulary
from disco.wire.headers import Kind, read_header
from disco.wire.tensors import read_weights, write_weights

NAME: Final = "v4"
PUSHES: Final = True
IN_PLACE = True
FORM: Final = Form(WeightsForm.PACKED)

#: The extension by which a participant asks to be told what became of its contributions.
VERDICTS: Final = "verdicts"

# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────

#: Words without content, and those that only count; what they mean.
_FROM_PEER: dict[type[Word], Callable[[ParticipantID], Event]] = {
    words.JoinRound: events.RoundJoined,
    words.PeerIsReady: events.BecameReady,
    words.ConnectionsReady: events.ConnectionsEstablished,
    words.ModelSyncRequest: events.ModelSyncRequested,
}
_BARE: dict[type[Word], Callable[[], Message]] = {
    words.StartWeightSharing: messages.StartSharing,
    words.RetryPeerConnections: messages.RetryConnections,
    words.ConnectionFail: messages.ConnectionsFailed,
}
_COUNTED: dict[type[Word], Callable[[int], Message]] = {
    words.WaitingForMoreParticipants: messages.WaitingForMore,
    words.EnoughParticipants: messages.Enough,
    words.ParticipantsUpdate: messages.ParticipantsChanged,
}
_WORD_FOR: dict[Any, type[Word]] = {
    meaning: word for word, meaning in (*_FROM_PEER.items(), *_BARE.items(), *_COUNTED.items())
}

_FROM_CLIENT = {
    Scheme.FEDERATED: vocabulary(words.ClientConnected, words.SendPayload),
    Scheme.DECENTRALIZED: vocabulary(words.ClientConnected, words.SignalForPeer, *_FROM_PEER),
}
_FROM_SERVER = {
    Scheme.FEDERATED: vocabulary(
        words.NewFederatedNodeInfo,
        words.ReceiveServerPayload,
        words.ContributionVerdict,
        words.TrainingEnded,
        words.CrashClient,
        *_COUNTED,
    ),
    Scheme.DECENTRALIZED: vocabulary(
        words.NewDecentralizedNodeInfo,
        words.PeersForRound,
        words.SignalForPeer,
        words.ModelProviderInfo,
        words.ProvideModelToPeer,
        *_BARE,
        *_COUNTED,
    ),
}


def decode(data: Buffer, sender: ParticipantID, scheme: Scheme, form: Form) -> tuple[Event, Form]:
    """Read one message of a client; see `Dialect.decode`."""
    match message := unpack(_FROM_CLIENT[scheme], data):
        case words.ClientConnected():
            verdicts = VERDICTS in (message.extensions or ())
            return events.Joined(sender, PUSHES, message.participant), replace(form, verdicts=verdicts)
        case words.SendPayload():
            return _contribution(message, sender), form
        case words.SignalForPeer():
            to, signal = message.peer, unopened(message.signal, "signal")
            return events.Signalled(sender, to, signal), form
    return _FROM_PEER[type(message)](sender), form


def _contribution(message: words.SendPayload, sender: ParticipantID) -> Event:
    """Read an update, or say why it cannot be read."""
    try:
        weights, _ = read_weights(message.payload, "payload")
        _require_figures(message)
    except (InvalidUpdate, InvalidFigures) as error:
        return events.Misdelivered(sender, str(error))
    return events.Contributed(sender, message.round, weights, message.key, message.samples, message.metrics)


def _require_figures(message: words.SendPayload) -> None:
    """Check what a participant says of its update.

    Raises:
        InvalidUpdate: `samples` is negative.
        InvalidFigures: `metrics` has a name or a figure that cannot be kept.
    """
    if message.samples is not None and not 0 <= message.samples < math.inf:
        raise InvalidUpdate("samples is no number from 0 up")
    require_figures(message.metrics or {}, "metrics")


def parse(data: Buffer, scheme: Scheme) -> Message:
    """Read one message of the server; see `Dialect.parse`. Without a payload, the weights have no tensors."""
    message = unpack(_FROM_SERVER[scheme], data)
    if meaning := _BARE.get(type(message)):
        return meaning()
    if counted := _COUNTED.get(type(message)):
        return counted(message.nbOfParticipants)
    return _parse_federated(message) if scheme is Scheme.FEDERATED else _parse_decentralized(message)


def _parse_federated(message: Any) -> Message:
    """Translate a message of the federated scheme."""
    match message:
        case words.NewFederatedNodeInfo():
            nothing = read_header(memoryview(message.payload)).kind is Kind.NIL
            weights = Weights((), ()) if nothing else read_weights(message.payload, "payload")[0]
            participant, waiting = message.id, message.waitForMoreParticipants
            count, ended = message.nbOfParticipants, message.ended
            return messages.Welcome(participant, message.round, weights, waiting, count, ended)
        case words.ContributionVerdict():
            return messages.Verdict(message.round, message.outcome, message.reason, message.key)
        case words.TrainingEnded():
            return messages.TrainingEnded(message.round, message.reason)
        case words.CrashClient():
            raise Refused(message.reason)
    weights, _ = read_weights(message.payload, "payload")
    return messages.GlobalModel(message.round, weights, message.nbOfParticipants, pushed=True)


def _parse_decentralized(message: Any) -> Message:
    """Translate a message of the decentralized scheme."""
    match message:
        case words.PeersForRound():
            peers, count = tuple(message.peers), message.nbOfParticipants or 0
            return messages.PeersForRound(peers, message.aggregationRound, count)
        case words.SignalForPeer():
            return messages.Signal(message.peer, unopened(message.signal, "signal"))
        case words.ModelProviderInfo():
            return messages.ModelProvider(message.providerNode)
        case words.ProvideModelToPeer():
            return messages.ModelWanted(message.newNode)
    participant, waiting = message.id, message.waitForMoreParticipants
    return messages.PeerWelcome(participant, waiting, message.nbOfParticipants, message.joinedMidTraining)


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────


def encode(message: Message, task: TaskID, form: Form) -> Encoded | None:
    """Write one message to a client; see `Dialect.encode`."""
    match message:
        case messages.Statistics() | messages.Metadata() | MaskedMessage():
            return None
        case messages.Verdict():
            return _encode_verdict(message) if form.verdicts else None
        case messages.TrainingEnded(round_, reason):
            return pack_word(words.TrainingEnded(round=round_, reason=reason)) if form.verdicts else None
        case messages.Welcome():
            return pack_model_word(
                words.NewFederatedNodeInfo,
                id=message.participant,
                waitForMoreParticipants=message.waiting,
                # The client keeps the weights of model.json.
                payload=write_weights(message.weights, form.weights) if message.round else None,
                round=message.round,
                nbOfParticipants=message.participants,
                **_present(ended=(message.ended or None) if form.verdicts else None),
            )
        case messages.GlobalModel():
            return pack_model_word(
                words.ReceiveServerPayload,
                payload=write_weights(message.weights, form.weights),
                round=message.round,
                nbOfParticipants=message.participants,
            )
        case messages.WaitingForMore() | messages.Enough() | messages.ParticipantsChanged():
            return pack_word(_WORD_FOR[type(message)](nbOfParticipants=message.participants))
        case _:
            return _encode_decentralized(message)


def _encode_verdict(verdict: messages.Verdict) -> bytes:
    """Write what became of a contribution; the key only if there was one."""
    return pack_word(words.ContributionVerdict(verdict.round, verdict.outcome, verdict.reason, verdict.key))


def _encode_decentralized(message: messages.DecentralizedMessage) -> bytes:
    """Write a message of the decentralized scheme."""
    match message:
        case messages.PeerWelcome():
            return pack_word(
                words.NewDecentralizedNodeInfo(
                    id=message.participant,
                    waitForMoreParticipants=message.waiting,
                    nbOfParticipants=message.participants,
                    joinedMidTraining=message.mid_training,
                )
            )
        case messages.PeersForRound():
            count = message.participants or None
            return pack_word(words.PeersForRound(message.peers, message.round, count))
        case messages.Signal():
            return pack_word(words.SignalForPeer(peer=message.sender, signal=Raw(message.signal)))
        case messages.ModelProvider():
            return pack_word(words.ModelProviderInfo(providerNode=message.provider))
        case messages.ModelWanted():
            return pack_word(words.ProvideModelToPeer(newNode=message.newcomer))
        case _:
            return pack_word(_WORD_FOR[type(message)]())


def compose(event: Event, task: TaskID, form: Form) -> bytes:
    """Write one message of a client; see `Dialect.compose`."""
    match event:
        case events.Joined():
            extensions = [VERDICTS] if form.verdicts else None
            return pack_word(words.ClientConnected(extensions=extensions, participant=event.identity))
        case events.Contributed():
            payload = write_weights(event.update, form.weights)
            said = _present(key=event.key, samples=event.samples, metrics=event.metrics)
            return whole(pack_model_word(words.SendPayload, payload=payload, round=event.round, **said))
        case events.Signalled():
            return pack_word(words.SignalForPeer(peer=event.to, signal=Raw(event.signal)))
    if word := _WORD_FOR.get(type(event)):
        return pack_word(word())
    raise ProtocolViolation(f"v4 has no word for {type(event).__name__}")


def _present(**fields: Any) -> dict[str, Any]:
    """Leave out what is not there: nil where something optional is expected would reject the message."""
    return {name: value for name, value in fields.items() if value is not None}
