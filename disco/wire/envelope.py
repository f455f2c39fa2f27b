"""What the dialects have in common: the msgpack map around every message.

Reading is typed: a dialect declares its messages as tagged structs, and `unpack` turns whatever else may come
into one sentence that names the field. Writing keeps the order of the fields and splices large values in, so
that a message of 40 MB is copied once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeVar, Union

import msgspec
from msgspec import Meta, Raw, Struct

from disco.core.names import ParticipantID
from disco.errors import MalformedMessage
from disco.wire.dialect import Buffer, Encoded, length
from disco.wire.headers import map_header

T = TypeVar("T")

#: Largest integer that a JavaScript number holds exactly.
LARGEST_INTEGER = 2**53 - 1
Count: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST_INTEGER)]
#: A name that a client makes up.
Identifier: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
#: The ID of a participant.
Identity: TypeAlias = Annotated[ParticipantID, Meta(min_length=1, max_length=64)]
#: Those of the peers of one round.
Identities: TypeAlias = Annotated[Sequence[Identity], Meta(max_length=65_536)]

#: Letters of a sentence about what is wrong.
LONGEST_SENTENCE = 120

#: The value of a field that holds any msgpack object and is not there.
ABSENT = Raw(b"")

#: To copy less than this costs less than to send one more piece.
JOINED_BYTES = 16 * 1024
#: A message up to this size is in one piece.
WHOLE_BYTES = 64 * 1024

_NIL = b"\xc0"


@dataclass(frozen=True, slots=True)
class Spliced:
    """An encoded object in pieces, to be copied into a message as it is."""

    pieces: Sequence[Buffer]


class Word(Struct, tag_field="type", tag=True, omit_defaults=True):
    """A message as a dialect declares it; its ``type`` is the class's name unless the class says otherwise.

    What is optional and has its default is not written: nil where a client expects something optional would make it
    reject the message.
    """


class _Tagged(Struct):
    """Any message, of which only the type is read."""

    type: int | str


_TAGGED = msgspec.msgpack.Decoder(_Tagged)


def vocabulary(*words: type[Word]) -> msgspec.msgpack.Decoder[Any]:
    """Make a decoder of any of these messages."""
    return msgspec.msgpack.Decoder(Union[words])  # noqa: UP007 - of as many types as there are


def message_type(data: Buffer) -> int | str:
    """Return the ``type`` of any message.

    Raises:
        MalformedMessage: `data` is no msgpack map with an integer or a string for it.
    """
    return unpack(_TAGGED, data).type


def unpack(
    decoder: msgspec.msgpack.Decoder[T],
    data: Buffer,
    *,
    root: str = "",
    error: type[MalformedMessage] = MalformedMessage,
) -> T:
    """Read one msgpack object as `decoder`'s type. Fields of type Raw are views into `data`.

    Args:
        decoder: of the type expected.
        data: exactly one object.
        root: what the object is called in errors; a message's fields stand for themselves.
        error: what to raise.

    Raises:
        MalformedMessage: it is no msgpack, or of another type.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as problem:
        raise error(_sentence(str(problem), root)) from problem
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise error(f"{root or 'the message'} is not msgpack: {problem}") from problem
    except RecursionError as problem:
        raise error(f"{root or 'the message'} is nested too deeply") from problem


def _sentence(problem: str, root: str) -> str:
    """Put msgspec's words in our order: ``Expected `int`, got `str` - at `$.round``` → ``round: expected …``.

    What came from outside is shortened and printable, as the sentence may end in a log.
    """
    what, _, where = problem.rpartition(" - at ") if " - at " in problem else (problem, "", "")
    path = re.sub(r"^.*`\$\.?(.*)`$", r"\1", where)
    name = f"{root}.{path}" if root and path and not path.startswith("[") else root + path
    said = "".join(letter if letter.isprintable() else "?" for letter in what[:LONGEST_SENTENCE])
    return f"{name or 'the message'}: {said[0].lower()}{said[1:].replace('`', '')}"


def unopened(value: Raw, field: str) -> bytes:
    """Return the bytes of an object that is carried without a look inside.

    Raises:
        MalformedMessage: it is nil, with which no client can do anything.
    """
    encoded = bytes(value)
    if encoded == _NIL:
        raise MalformedMessage(f"{field}: expected an object, got nil")
    return encoded


def pack(fields: Mapping[str, Any]) -> bytes:
    """Write a map of less than 16 fields in the order given."""
    return b"".join(_pieces(fields))


def pack_model(fields: Mapping[str, Any]) -> Encoded:
    """Write a map with a model in it: a large one in pieces, without copying what is spliced in."""
    joined: list[Buffer] = []
    small: list[Buffer] = []
    for piece in _pieces(fields):
        if memoryview(piece).nbytes < JOINED_BYTES:
            small.append(piece)
        else:
            joined += [b"".join(small), piece]
            small.clear()
    joined.append(b"".join(small))
    message = tuple(piece for piece in joined if piece)
    return message if length(message) > WHOLE_BYTES else b"".join(message)


def pack_word(word: Word) -> bytes:
    """Write a message with its type first, then its fields in order."""
    return msgspec.msgpack.encode(word)


def pack_model_word(word: type[Word], **fields: Any) -> Encoded:
    """Write a message that carries a model, with its type first; otherwise like `pack_model`."""
    return pack_model({"type": word.__struct_config__.tag, **fields})


def _pieces(fields: Mapping[str, Any]) -> list[Buffer]:
    pieces: list[Buffer] = [map_header(len(fields))]
    for name, value in fields.items():
        pieces.append(msgspec.msgpack.encode(name))
        if isinstance(value, Spliced):
            pieces.extend(value.pieces)
        else:
            pieces.append(msgspec.msgpack.encode(value))
    return pieces
