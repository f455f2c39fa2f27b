"""What peers say to each other, and how it is cut to fit a WebRTC data channel.

None of it passes a server. Messages differ by generation: v2 has one type for each stage of a round, v3 and v4
one payload that names its round and its stage. The framing below them is the same:

    chunk 0   message number, uint16 big-endian · 0, uint8 · how many chunks, uint8 · bytes
    chunk i   message number, uint16 big-endian · i, uint8                          · bytes

Source: DISCO v2 wire, `Weights`, `Shares`, `PartialSums`; v3 and v4 wire, `Payload`; the framing of all three.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

from disco.core.names import ParticipantID
from disco.core.weights import Weights
from disco.errors import LimitExceeded, MalformedMessage, ProtocolViolation
from disco.wire.dialect import Buffer, WeightsForm
from disco.wire.envelope import ABSENT, LARGEST_INTEGER, Count, Identifier, pack, unpack
from disco.wire.tensors import read_weights, write_weights

#: Largest chunk between v2 peers, whatever the channel could carry.
V2_CHUNK_BYTES: Final = 16_384

#: The number of chunks is one byte.
MAX_CHUNKS: Final = 255

_V3_PAYLOAD = 6
_V4_PAYLOAD = "Payload"


class Stage(IntEnum):
    """What a peer gives the others; the values are v2's types.

    In clear text a round has one stage, *weights*. With secure aggregation it has two: *shares*, another for
    each peer, and *partial sums*, the same for all.
    """

    WEIGHTS = 5
    SHARES = 6
    PARTIAL_SUMS = 7


@dataclass(frozen=True, slots=True)
class PeerMessage:
    """Weights from one peer to another.

    Args:
        stage: what they are.
        to: the receiver.
        weights: as the stage says.
        round: the round that the hub gave; v2 does not say it.
    """

    stage: Stage
    to: ParticipantID
    weights: Weights
    round: int | None = None


class _V2(Struct):
    type: Annotated[int, Meta(ge=Stage.WEIGHTS.value, le=Stage.PARTIAL_SUMS.value)]
    peer: Count
    weights: Raw = ABSENT
    partials: Raw = ABSENT


class _Payload(Struct):
    type: int | str
    peer: Identifier
    aggregationRound: Count
    communicationRound: Annotated[int, Meta(ge=0, le=1)]
    payload: Raw


_READ_V2 = msgspec.msgpack.Decoder(_V2)
_READ_PAYLOAD = msgspec.msgpack.Decoder(_Payload)


def encode(message: PeerMessage, dialect: str) -> bytes:
    """Write one message between peers.

    Raises:
        ProtocolViolation: the receiver's ID is not one of this dialect.
    """
    if dialect == "v2":
        if not (message.to.isascii() and message.to.isdigit() and int(message.to) <= LARGEST_INTEGER):
            raise ProtocolViolation("v2 numbers its peers, and this one has no number")
        name = "partials" if message.stage is Stage.PARTIAL_SUMS else "weights"
        weights = write_weights(message.weights, WeightsForm.INTEGERS)
        return pack({"type": message.stage.value, "peer": int(message.to), name: weights})
    fields: dict[str, Any] = {
        "type": _V3_PAYLOAD if dialect == "v3" else _V4_PAYLOAD,
        "peer": message.to,
        "aggregationRound": message.round or 0,
        "communicationRound": int(message.stage is Stage.PARTIAL_SUMS),
        "payload": write_weights(message.weights, WeightsForm.PACKED),
    }
    return pack(fields)


def decode(data: Buffer, dialect: str, *, secure: bool) -> PeerMessage:
    """Read one message between peers.

    Args:
        data: the whole message; packed weights come back as views into it.
        dialect: ``v2``, ``v3`` or ``v4``.
        secure: whether this round aggregates securely: a payload does not say what its first stage is.

    Raises:
        MalformedMessage: `data` is anything else; never another error.
    """
    if dialect == "v2":
        word = unpack(_READ_V2, data)
        stage = Stage(word.type)
        name = "partials" if stage is Stage.PARTIAL_SUMS else "weights"
        weights, _ = read_weights(getattr(word, name), name)
        return PeerMessage(stage, ParticipantID(str(word.peer)), weights)
    payload = unpack(_READ_PAYLOAD, data)
    expected = _V3_PAYLOAD if dialect == "v3" else _V4_PAYLOAD
    if payload.type != expected:
        raise MalformedMessage(f"type: expected {expected!r}, got {str(payload.type)[:32]!r}")
    stages = (Stage.SHARES if secure else Stage.WEIGHTS, Stage.PARTIAL_SUMS)
    stage = stages[payload.communicationRound]
    weights, _ = read_weights(payload.payload, "payload")
    return PeerMessage(stage, ParticipantID(payload.peer), weights, payload.aggregationRound)


# ── Framing ──────────────────────────────────────────────────────────────────────────────────────────────

_FIRST = struct.Struct(">HBB")
_LATER = struct.Struct(">HB")


def cut(message: Buffer, number: int, chunk_bytes: int) -> Iterator[bytes]:
    """Cut one message into chunks.

    Args:
        message: any bytes; nothing makes one empty chunk.
        number: how many messages went before it on this channel; only its lower 16 bits are sent.
        chunk_bytes: of the largest chunk with its header; above 4.

    Raises:
        LimitExceeded: 255 chunks of this size cannot hold it.
    """
    view = memoryview(message).cast("B")
    first, later = chunk_bytes - _FIRST.size, chunk_bytes - _LATER.size
    count = 1 + max(0, -((first - view.nbytes) // later))
    if count > MAX_CHUNKS:
        most = first + (MAX_CHUNKS - 1) * later
        raise LimitExceeded(f"a message between peers has at most {most} bytes here, not {view.nbytes}")
    number &= 0xFFFF
    yield _FIRST.pack(number, 0, count) + view[:first]
    for index in range(1, count):
        start = first + (index - 1) * later
        yield _LATER.pack(number, index) + view[start : start + later]


@dataclass(slots=True)
class _Partial:
    """A message of which not every chunk is here."""

    total: int | None = None
    chunks: dict[int, Buffer] = field(default_factory=dict)


class Joiner:
    """Join the chunks of one channel into messages, in whatever order they come.

    Args:
        limit_bytes: held in unfinished messages, all together.
        limit_messages: unfinished at once.
    """

    def __init__(self, limit_bytes: int, limit_messages: int = 8) -> None:
        self._limit_bytes = limit_bytes
        self._limit_messages = limit_messages
        self._held = 0
        self._partials: dict[int, _Partial] = {}

    def feed(self, chunk: Buffer) -> bytes | None:
        """Take one chunk in; the message that it completes, if it does.

        Raises:
            MalformedMessage: it is no chunk, contradicts another one, or exceeds a limit. The channel is of no
                use any more.
        """
        view = memoryview(chunk).cast("B")
        if view.nbytes < _LATER.size:
            raise MalformedMessage(f"a chunk has at least {_LATER.size} bytes, not {view.nbytes}")
        number, index = _LATER.unpack_from(view)
        partial = self._partials.setdefault(number, _Partial())
        if index in partial.chunks:
            raise MalformedMessage(f"chunk {index} of message {number} came twice")
        if index == 0:
            if view.nbytes < _FIRST.size:
                raise MalformedMessage(f"a first chunk has at least {_FIRST.size} bytes, not {view.nbytes}")
            partial.total = view[_LATER.size]
        content = view[_FIRST.size if index == 0 else _LATER.size :]
        partial.chunks[index] = content
        self._held += content.nbytes
        if partial.total is not None and max(partial.chunks) >= partial.total:
            raise MalformedMessage(f"message {number} has {partial.total} chunks and a chunk beyond them")
        if self._held > self._limit_bytes or len(self._partials) > self._limit_messages:
            raise MalformedMessage(
                f"unfinished messages of more than {self._limit_bytes} bytes, or more than {self._limit_messages}"
            )
        if len(partial.chunks) != partial.total:
            return None
        del self._partials[number]
        message = b"".join(partial.chunks[place] for place in range(partial.total))
        self._held -= len(message)
        return message
