"""Participants of every kind that train until they are stopped, and remember every round that they were told of."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import trio
import wsproto.utilities
from numpy.typing import NDArray
from trio_websocket import ConnectionClosed, HandshakeError

from disco.errors import DiscoError
from disco.participant import Participant
from tests.web.clients import Client, integers, packed, unpacked, v2, v4

Arrays = list[NDArray[np.float32]]
#: Whatever a connection to a server that has just been killed may raise in these clients.
GONE = (
    *(OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError),
    *(ConnectionClosed, HandshakeError, wsproto.utilities.ProtocolError),
)


def fingerprint(arrays: Sequence[Any]) -> bytes:
    """Return a hash of every bit of a model."""
    return hashlib.sha256(b"".join(np.asarray(array, "<f4").tobytes() for array in arrays)).digest()


class Told:
    """The rounds that anybody was told of, by task: number → SHA-256 over every bit of the model."""

    def __init__(self) -> None:
        self.rounds: dict[str, dict[int, bytes]] = {}
        self.times = 0

    def hear(self, task: str, round_: int, arrays: Sequence[Any]) -> None:
        """Take in what one participant was told.

        Raises:
            ValueError: somebody was told something else of this round.
        """
        bits = fingerprint(arrays)
        known = self.rounds.setdefault(task, {}).setdefault(round_, bits)
        self.times += 1
        if known != bits:
            raise ValueError(f"task {task}, round {round_}: two participants were told different models")

    def latest(self, task: str) -> int:
        """Return the newest round that anybody was told of."""
        return max(self.rounds.get(task, {0: b""}))


class Crowd:
    """Trains a task of given shapes on a server that comes and goes, always at the same address."""

    def __init__(self, url: str, told: Told, seed: int) -> None:
        self._url, self._told, self._chance = url, told, random.Random(seed)

    @property
    def _ws(self) -> str:
        return "ws" + self._url.removeprefix("http")

    def _update(self, shapes: Sequence[tuple[int, ...]]) -> Arrays:
        seed = self._chance.randrange(2**32)
        random_numbers = np.random.default_rng(seed)
        return [random_numbers.standard_normal(shape, np.float32) for shape in shapes]

    async def run(self, task: str, shapes: Sequence[tuple[int, ...]], kinds: str) -> None:
        """Run one participant for each letter of `kinds` (2: v2, 4: v4, p: Python's) until cancelled."""
        workers: dict[str, Callable[..., Any]] = {"2": self._pulling, "4": self._pushed, "p": self._python}
        async with trio.open_nursery() as nursery:
            for kind in kinds:
                nursery.start_soon(self._again, workers[kind], task, shapes)

    async def _again(self, work: Callable[..., Any], task: str, shapes: Sequence[tuple[int, ...]]) -> None:
        """Take part again and again, whatever ends it."""
        while True:
            try:
                await work(task, shapes)
            except* (*GONE, DiscoError):
                await trio.sleep(0.05)

    async def _pulling(self, task: str, shapes: Sequence[tuple[int, ...]]) -> None:
        async with v2(self._ws, task) as me:
            while True:
                answer = await me.ask(type=11)
                self._told.hear(task, answer["round"], unpacked(answer["weights"]))
                await me.say(type=8, weights=integers(self._update(shapes)), round=answer["round"])
                await me.ask(type=13)
                await trio.sleep(0.02)

    async def _pushed(self, task: str, shapes: Sequence[tuple[int, ...]]) -> None:
        async with v4(self._ws, task) as me:
            round_ = 0
            for count in itertools.count():
                payload = packed(self._update(shapes))
                await me.say(type="SendPayload", payload=payload, round=round_, key=f"{id(me)}-{count}")
                answer = await self._model(me)
                round_ = answer["round"]
                self._told.hear(task, round_, unpacked(answer["payload"]))

    async def _model(self, me: Client) -> dict[str, Any]:
        """Wait for a model, for as long as it takes."""
        while True:
            answer = await me.hear()
            if answer["type"] == "ReceiveServerPayload":
                return answer

    async def _python(self, task: str, shapes: Sequence[tuple[int, ...]]) -> None:
        async with Participant(self._url, task, timeout=5.0, patience=60.0) as me:
            while True:
                self._told.hear(task, me.round, me.weights)
                await me.exchange(self._update(shapes))
