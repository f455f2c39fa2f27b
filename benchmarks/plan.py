"""How a run goes: how much is measured, which servers can be, and whose turn it is."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import TypeVar

from benchmarks.processes import PeerMissing, Server

T = TypeVar("T")


@dataclass(slots=True)
class Plan:
    """What a run is to be.

    Args:
        quick: a few seconds a cell, for development; its numbers are rough.
        only: groups to measure; empty for all.
    """

    quick: bool = False
    only: frozenset[str] = frozenset()

    def repeats(self, thorough: int) -> int:
        """Return how often each server has its turn."""
        return min(thorough, 2) if self.quick else thorough

    def amount(self, thorough: int) -> int:
        """Return how much work one turn is: a tenth in a quick run."""
        return max(1, thorough // 10) if self.quick else thorough


@dataclass(slots=True)
class Field:
    """The servers that could be started for a cell, and why others could not."""

    servers: dict[str, Server] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


Starters = Mapping[str, Callable[[], AbstractContextManager[Server]]]


def start(stack: ExitStack, starters: Starters) -> Field:
    """Start every server that can be; they end with the stack."""
    found = Field()
    for name, starter in starters.items():
        try:
            found.servers[name] = stack.enter_context(starter())
        except PeerMissing as error:
            found.notes[name] = str(error)
            say(f"{name} is left out: {error}")
    return found


def take_turns(
    turns: Mapping[str, Callable[[], T]], repeats: int, *, warm: bool = False
) -> dict[str, list[T]]:
    """Give every server its turn, again and again; a `warm` one of each is not counted.

    Each time in another order: who comes behind a server that goes on working after its turn, as Flower's does, would
    otherwise pay for that every time.
    """
    found: dict[str, list[T]] = {name: [] for name in turns}
    order, chance = list(turns), random.Random(0)
    for number in range(repeats + warm):
        if number:
            chance.shuffle(order)
        for name in order:
            result = turns[name]()
            if number >= warm:
                found[name].append(result)
    return found


def say(words: str) -> None:
    """Tell whoever waits how far the run is."""
    print(words, file=sys.stderr, flush=True)
