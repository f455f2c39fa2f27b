"""A connection as its coordinator sees it, and what is written to it."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from disco.core.events import GlobalModel, Message, ParticipantID, TaskID, Welcome
from disco.runtime.outbox import Outbox
from disco.wire.dialect import Dialect, Encoded, Form, WeightsForm

#: Weights above this many parameters are encoded in a worker thread; below, switching costs more than it saves.
THREAD_PARAMETERS = 50_000


@dataclass(slots=True, eq=False)
class Line:
    """One connection as its coordinator sees it.

    Args:
        participant: whose it is. Several lines may be one participant's, when a client comes back before its old
            connection is gone.
        form: the client's habits, updated by what it sends.
        joined: whether it has said hello. A dialect whose clients are pushed to hears nothing before that.
    """

    participant: ParticipantID
    dialect: Dialect
    form: Form
    outbox: Outbox
    joined: bool = False


async def encode(dialect: Dialect, message: Message, task: TaskID, form: Form) -> Encoded | None:
    """Encode a message, in a worker thread if it carries a large model that has to be converted."""
    weights = message.weights if isinstance(message, GlobalModel | Welcome) else None
    packed = form.weights is WeightsForm.PACKED
    if weights is not None and not packed and weights.parameters > THREAD_PARAMETERS:
        return await trio.to_thread.run_sync(dialect.encode, message, task, form)
    return dialect.encode(message, task, form)
