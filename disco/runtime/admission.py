"""When large payloads are received: whoever has room for them is asked first, and told of senders who stall."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from disco.runtime.byte_stream import ByteStream


class Gate(Protocol):
    """Decides when large payloads are received."""

    async def admit(self, size: int) -> None:
        """Wait until so many bytes more of a payload may be received."""

    @property
    def stall_seconds(self) -> float:
        """After how many seconds without a byte of an admitted payload to call `stalled`; inf for never."""

    def stalled(self) -> None:
        """Learn that the client makes the server wait in the midst of an admitted payload."""


class Admission:
    """One connection's way through a gate, payload after payload.

    Args:
        gate: that is asked; None admits everything.
    """

    __slots__ = ("_admitted", "_gate")

    def __init__(self, gate: Gate | None) -> None:
        self._gate = gate
        self._admitted = False  # the current payload was

    async def receive(
        self, stream: ByteStream, target: memoryview, missing: int, seconds_left: Callable[[], float]
    ) -> int:
        """Receive a part of a payload into `target` once it is admitted; returns how many bytes came, 0 at the end.

        Args:
            stream: it comes from.
            target: has room for some of it.
            missing: bytes of it that have not come.
            seconds_left: tells how long to wait for the client.

        Raises:
            trio.TooSlowError: the client was too slow.
        """
        gate = self._gate
        if gate is None:
            return await stream.read_into(target, seconds_left())
        if not self._admitted:
            await gate.admit(missing)
            self._admitted = True
        patience = seconds_left()
        if gate.stall_seconds < patience:
            try:
                return await stream.read_into(target, gate.stall_seconds)
            except trio.TooSlowError:
                gate.stalled()
        return await stream.read_into(target, patience)

    def end_payload(self) -> None:
        """Learn that the payload is whole: the next one has to be admitted anew."""
        self._admitted = False
