"""What a dialect is: one generation of the DISCO protocol, as pure functions in a module of its own.

`v2`, `v3` and `v4` are modules that satisfy `Dialect`. They turn bytes from a client into an event and a
message into bytes for a client; `compose` and `parse` are the same seen from the client's side, for Python
participants. None of them waits, logs or knows a session.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol, TypeAlias

from msgspec import Struct

from disco.core.events import Event
from disco.core.messages import Message
from disco.core.names import ParticipantID, Scheme, TaskID

Buffer: TypeAlias = bytes | bytearray | memoryview
#: A message; a large one in pieces, some of which are views into the weights that it carries.
Encoded: TypeAlias = bytes | tuple[Buffer, ...]


class WeightsForm(StrEnum):
    """How weights travel inside a message.

    *integers*: an array of the bytes of an inner msgpack with plain numbers (v2's own). *floats*: the same
    inner msgpack as msgpack ``bin``. *packed*: ``bin`` whose tensors are ext 0x17, raw little-endian float32
    (v3, v4).
    """

    INTEGERS = "integers"
    FLOATS = "floats"
    PACKED = "packed"


class Form(Struct, frozen=True, cache_hash=True):
    """The habits of one client, learned from what it sends, so that it is answered in kind.

    Args:
        weights: how it writes weights.
        named: (v2) whether it writes ``type`` as the message's name instead of its number.
        verdicts: (v4) whether it asked to be told what became of its contributions.
    """

    weights: WeightsForm
    named: bool = False
    verdicts: bool = False


def length(encoded: Encoded) -> int:
    """Return how many bytes a message has."""
    if isinstance(encoded, bytes):
        return len(encoded)
    return sum(memoryview(piece).nbytes for piece in encoded)


def whole(encoded: Encoded) -> bytes:
    """Return a message in one piece."""
    return encoded if isinstance(encoded, bytes) else b"".join(encoded)


class Dialect(Protocol):
    """One generation of the wire. Modules satisfy it."""

    @property
    def NAME(self) -> str:
        """``v2``, ``v3`` or ``v4``."""

    @property
    def PUSHES(self) -> bool:
        """Whether the server sends the global model when a round closes, or waits to be asked."""

    @property
    def IN_PLACE(self) -> bool:
        """Whether weights are read where they lie. If not, decoding a large message is work for a worker thread."""

    @property
    def FORM(self) -> Form:
        """What to assume of a client that has not shown its habits yet."""

    def decode(self, data: Buffer, sender: ParticipantID, scheme: Scheme, form: Form) -> tuple[Event, Form]:
        """Read one message of a client.

        Weights come back as views into `data` where the encoding allows it.

        Returns:
            What it means, and the client's form as known now.

        Raises:
            MalformedMessage: `data` is anything else; never another exception. A contribution whose envelope
                is right but whose weights are not is no error here but a `Misdelivered` event.
        """

    def encode(self, message: Message, task: TaskID, form: Form) -> Encoded | None:
        """Write one message to a client; None when this generation has no word for it."""

    def compose(self, event: Event, task: TaskID, form: Form) -> bytes:
        """Write one message of a client (what `decode` reads).

        Raises:
            ProtocolViolation: this generation has no word for it.
        """

    def parse(self, data: Buffer, scheme: Scheme) -> Message:
        """Read one message of the server (what `encode` wrote). What a generation does not say is 0, empty or False.

        Raises:
            MalformedMessage: `data` is anything else.
            Refused: the server says that it will not go on with this participant (v4).
        """
