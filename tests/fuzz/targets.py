"""What is fuzzed: every place where bytes from outside are read, with the errors that it may raise."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from disco.core.access import Role, Wish, mint, recognise
from disco.core.aggregation.mean import Mean
from disco.core.events import Contributed
from disco.core.masking.total import MaskedTotal
from disco.core.masking.words import MaskedContributed
from disco.core.model import Model
from disco.core.names import Scheme
from disco.core.submission import read_submission
from disco.core.task import Task
from disco.errors import (
    InvalidTask,
    InvalidUpdate,
    LimitExceeded,
    MalformedMessage,
    ProtocolViolation,
    Refused,
    Unauthenticated,
    UnknownTask,
)
from disco.runtime.frame_reader import FrameReader
from disco.web.callers import Asked
from disco.web.sockets import read_path
from disco.wire import DIALECTS, detect, masked
from disco.wire.dialect import Form, WeightsForm
from disco.wire.tensors import decode_weights
from tests.fuzz import seeds
from tests.fuzz.mutation import Mutator

FRAME_LIMIT = 100_000
PROXIES = (ipaddress.ip_network("10.0.0.0/8"),)


@dataclass(frozen=True)
class Target:
    """One place.

    Args:
        read: takes an input; whatever it raises that is not `allowed` is a find.
        text: whether inputs are JSON.
    """

    name: str
    seeds: Sequence[bytes]
    read: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...] = ()
    text: bool = False


def _decode(dialect: str, scheme: Scheme, data: bytes) -> None:
    """Read a client's message, and do with weights what a session does."""
    event, _ = DIALECTS[dialect].decode(data, seeds.ME, scheme, Form(WeightsForm.PACKED))
    if isinstance(event, Contributed):
        total = Mean()
        total.begin(seeds.WEIGHTS)
        total.add(event.update, 1.0)


def _decode_masked(data: bytes) -> None:
    """Read a message of a participant that masks, and add what is masked."""
    event, _ = masked.decode(data, seeds.ME, Scheme.FEDERATED, masked.FORM)
    if isinstance(event, MaskedContributed):
        MaskedTotal(event.masked.size).add(event.masked)


def _parse_masked(data: bytes) -> None:
    masked.parse(data, Scheme.FEDERATED)


def _frames(mutator: Mutator, data: bytes) -> None:
    reader = FrameReader(FRAME_LIMIT)
    for piece in mutator.cuts(data):
        target = reader.target()
        while piece and target is not None and reader.missing:
            count = min(len(target), len(piece))
            target[:count] = piece[:count]
            reader.filled(count)
            piece = piece[count:]
            while (event := reader.next_event()) is not None:
                del event
            target = reader.target()
        reader.feed(piece)
        while reader.next_event() is not None:
            pass


def _document(data: bytes) -> None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    task = Task.from_document(document)
    json.dumps(task.public())
    json.dumps(task.for_v2())


def _tfjs(data: bytes) -> None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(document, dict):
        Model.from_tfjs(document, b"\x00" * 52)


def _request(data: bytes) -> None:
    """Read a request's headers and query, and a path, from one input."""
    lines = data.split(b"\n")
    headers = [line.partition(b":")[::2] for line in lines[1:]]
    scope: dict[str, Any] = {
        "type": "websocket", "headers": headers, "query_string": lines[0], "client": ("10.0.0.1", 1),
        "server": ("127.0.0.1", 1), "subprotocols": [line.decode("latin-1") for line in lines],
    }  # fmt: skip
    Asked.read(scope, PROXIES)
    read_path(data.decode("latin-1"))


#: A query, headers, and (all of it) a path.
REQUESTS = [
    b"/federated/tiny/2f0c4b1e-7a53-4c8e-9f6d-0a1b2c3d4e5f",
    b"x\nhost: localhost\norigin: http://x\nx-forwarded-for: 1.1.1.1, 10.0.0.2",
    b"ticket=abc&x=%ff\nauthorization: Bearer disco_00000000_xx\nhost: [::1]:80\nhost: [::1",
]
POSTED = (MalformedMessage, InvalidTask)
_, TOKEN = mint(Wish(Role.ADMIN), bytes(36), 0.0)


def targets(seed: int) -> list[Target]:
    """Return every target."""
    found = [
        Target(
            f"{dialect} {scheme} {way}",
            seeds.spoken(dialect),
            partial(_decode, dialect, scheme) if way == "decode" else partial(_parse, dialect, scheme),
            (MalformedMessage,) if way == "decode" else (MalformedMessage, Refused),
        )
        for dialect in DIALECTS
        for scheme in Scheme
        for way in ("decode", "parse")
    ]
    return [
        *found,
        Target("masked decode", seeds.masked_messages(), _decode_masked, (MalformedMessage,)),
        Target("masked parse", seeds.masked_messages(), _parse_masked, (MalformedMessage,)),
        Target("dialect", seeds.spoken("v4"), detect, (MalformedMessage,)),
        Target("tensors", seeds.tensors(), lambda data: decode_weights(data, "payload"), (InvalidUpdate,)),
        Target("model msgpack", seeds.models(), Model.from_msgpack, (InvalidTask,)),
        Target("model.json", seeds.tfjs(), _tfjs, (InvalidTask,), text=True),
        Target("task", seeds.documents(), _document, (InvalidTask,), text=True),
        Target("POST /tasks", seeds.submissions(), partial(_post, "application/json"), POSTED, text=True),
        Target(
            "POST /tasks, msgpack", seeds.packed_submissions(), partial(_post, "application/msgpack"), POSTED
        ),
        Target("frames", seeds.frames(), partial(_frames, Mutator(seed)), (ProtocolViolation, LimitExceeded)),
        Target("request", REQUESTS, _request, (UnknownTask,)),
        Target("token", [b"disco_00000000_abc"], _token, (Unauthenticated,)),
    ]


def _post(content_type: str, data: bytes) -> None:
    read_submission(data, content_type)


def _token(data: bytes) -> None:
    recognise(data.decode("latin-1"), [TOKEN], 0.0)


def _parse(dialect: str, scheme: Scheme, data: bytes) -> None:
    DIALECTS[dialect].parse(data, scheme)
