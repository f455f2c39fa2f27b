"""Runs a demonstration: the server here, every participant in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import trio

from disco.cli.hosting import running
from disco.demo.subjects import Subject
from disco.errors import DiscoError
from disco.settings import Settings

News: TypeAlias = Mapping[str, Any]
#: Seconds that a whole demonstration may take.
PATIENCE = 300.0


class DemoFailed(DiscoError):
    """A participant's process ended before its time; the message holds its last words."""


@dataclass(slots=True)
class Course:
    """What one participant told.

    Args:
        examples: in its own part.
        together: accuracy of the shared model on the held-out data, after each round.
        alone: accuracy of the model that it trained alone.
    """

    examples: int = 0
    together: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """How a demonstration ended.

    Args:
        goal: an accuracy that is a success by itself.
        courses: one for each participant.
    """

    goal: float
    courses: list[Course]

    @property
    def together(self) -> float:
        """The final accuracy of the shared model."""
        return min(course.together[-1] for course in self.courses)

    @property
    def best_alone(self) -> float:
        """The final accuracy of whoever did best alone."""
        return max(course.alone[-1] for course in self.courses)

    @property
    def succeeded(self) -> bool:
        """Whether the shared model beats everybody alone, or reaches the goal."""
        return self.together > self.best_alone or self.together >= self.goal


@dataclass(frozen=True, slots=True)
class Plan:
    """One demonstration to run.

    Args:
        seed: of how the data is cut, and of the order of the examples.
        data_dir: where the server keeps its rounds, to go on from another time; None for a directory that is removed
            afterwards.
    """

    subject: Subject
    participants: int
    rounds: int
    seed: int
    data_dir: Path | None = None


async def demonstrate(plan: Plan, watch: Callable[[int, News], None]) -> Outcome:
    """Run a demonstration on a free port.

    Args:
        plan: what to run.
        watch: called with a participant's index and each thing that it tells.

    Raises:
        DemoFailed: a participant's process failed, or all took longer than `PATIENCE`.
    """
    courses = [Course() for _ in range(plan.participants)]
    with tempfile.TemporaryDirectory(prefix="disco-demo-") as folder:
        settings = Settings(port=0, data_dir=plan.data_dir or Path(folder), log_level="warning")
        async with running(settings) as (_, url):
            with trio.move_on_after(PATIENCE) as patience:
                await _run_members(plan, url, courses, watch)
            if patience.cancelled_caught:
                raise DemoFailed(f"the demonstration took longer than {PATIENCE:g} s")
    return Outcome(plan.subject.goal, courses)


async def _run_members(
    plan: Plan, url: str, courses: list[Course], watch: Callable[[int, News], None]
) -> None:
    starts = _Gathering(plan.participants)
    ends = _Gathering(plan.participants)

    async def member(index: int) -> None:
        arguments = {
            "subject": plan.subject.task,
            "url": url,
            "index": index,
            "participants": plan.participants,
        }
        arguments |= {"rounds": plan.rounds, "seed": plan.seed}
        command = [
            sys.executable,
            "-m",
            "disco.demo.member",
            *(f"--{name}={it}" for name, it in arguments.items()),
        ]
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            await _follow(process, courses[index], lambda news: watch(index, news), (starts, ends))
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    async with trio.open_nursery() as nursery:
        for index in range(plan.participants):
            nursery.start_soon(member, index)


async def _follow(
    process: trio.Process,
    course: Course,
    watch: Callable[[News], None],
    gatherings: tuple[_Gathering, _Gathering],
) -> None:
    """Read what a participant tells, and let it go on when the others are as far."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    starts, ends = gatherings
    complaints = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_collect, process.stderr, complaints)
        async for line in _lines(process.stdout):
            news: News = json.loads(line)
            watch(news)
            if news["event"] == "joined":
                course.examples = news["examples"]
                await starts.meet()
                await process.stdin.send_all(b"\n")
            elif news["event"] == "round":
                course.together.append(news["together"])
                course.alone.append(news["alone"])
            else:
                await ends.meet()
                await process.stdin.send_all(b"\n")
    if await process.wait() != 0:
        raise DemoFailed(f"a participant failed: {complaints.decode(errors='replace')[-2000:]}")


async def _lines(stream: trio.abc.ReceiveStream) -> Any:
    rest = b""
    async for chunk in stream:
        *lines, rest = (rest + bytes(chunk)).split(b"\n")
        for line in lines:
            yield line


async def _collect(stream: trio.abc.ReceiveStream, into: bytearray) -> None:
    async for chunk in stream:
        into += chunk


class _Gathering:
    """Lets everybody through when all have come."""

    def __init__(self, expected: int) -> None:
        self._missing = expected
        self._all = trio.Event()

    async def meet(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._all.set()
        await self._all.wait()
