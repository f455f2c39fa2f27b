"""Who handles what: the owner of a session or, while it is at rest, whoever hands something in."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from disco.core.effects import Effect, Reset, Send
from disco.core.events import Event, Joined, Left, ModelRequested, StatisticsRequested, Ticked
from disco.core.messages import Enough
from disco.core.names import ParticipantID, TaskID
from disco.metrics import Metrics
from disco.runtime.coordinator import Coordinator
from disco.runtime.letters import LATER, Later
from disco.runtime.lines import Line
from disco.runtime.outbox import Outbox
from disco.wire import DIALECTS

ME = ParticipantID("me")
HERE, ASKED, COUNTED = Joined(ME), ModelRequested(ME), StatisticsRequested(ME)


class Script:
    """A session that answers each type of event as told, and keeps what it heard."""

    def __init__(self, answers: dict[type, Sequence[Effect] | Exception]) -> None:
        self.answers = answers
        self.heard: list[Event] = []
        self.tasks: list[trio.lowlevel.Task] = []
        self.deadline = math.inf

    def handle(self, event: Any, now: float) -> Sequence[Effect]:
        self.heard.append(event)
        self.tasks.append(trio.lowlevel.current_task())
        if isinstance(event, Ticked):
            self.deadline = math.inf
        answer = self.answers.get(type(event), ())
        if isinstance(answer, Exception):
            raise answer
        return answer


class Slow:
    """Performs an effect when it is let, and answers with an event."""

    def __init__(self, answer: Event | None = None) -> None:
        self.let = trio.Event()
        self.answer = answer
        self.tasks: list[trio.lowlevel.Task] = []

    def perform_now(self, effect: Effect) -> Event | Later | None:
        return LATER

    async def perform(self, effect: Effect) -> Event | None:
        self.tasks.append(trio.lowlevel.current_task())
        await self.let.wait()
        return self.answer

    async def settle(self) -> None:
        pass


def coordinate(session: Script, performer: Slow | None = None) -> Coordinator[Script]:
    coordinator = Coordinator[Script](TaskID("t"), lambda _: session, performer, Metrics(), lambda _: "all")
    coordinator.sessions["all"] = session
    return coordinator


def line_of(coordinator: Coordinator[Script], participant: ParticipantID = ME) -> Line:
    line = Line(participant, DIALECTS["v4"], DIALECTS["v4"].FORM, Outbox(8))
    coordinator.attach(line)
    return line


@asynccontextmanager
async def running(coordinator: Coordinator[Script]) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(coordinator.run)
        await wait_all_tasks_blocked()
        yield nursery
        nursery.cancel_scope.cancel()


async def test_at_rest_whoever_hands_something_in_handles_it_without_waiting() -> None:
    session = Script({ModelRequested: (Send((ME,), Enough(2)),)})
    coordinator = coordinate(session)
    line = line_of(coordinator)
    async with running(coordinator):
        line.joined = True
        assert coordinator.at_rest
        coordinator.submit_now(ASKED, line, trio.current_time())
        assert session.heard == [ASKED]
        assert session.tasks == [trio.lowlevel.current_task()]
        assert line.outbox.depth == 1
        assert coordinator.at_rest


async def test_before_the_owner_runs_nothing_is_handled_and_nothing_lost() -> None:
    session = Script({})
    coordinator = coordinate(session)
    line = line_of(coordinator)
    assert not coordinator.at_rest
    coordinator.submit_now(ASKED, line, trio.current_time())
    coordinator.submit_now(COUNTED, line, trio.current_time())
    assert session.heard == []
    async with running(coordinator):
        assert session.heard == [ASKED, COUNTED]


async def test_what_has_to_be_awaited_is_the_owners_and_nothing_overtakes_it() -> None:
    performer = Slow(answer=Ticked())
    session = Script({ModelRequested: (Reset(), Send((ME,), Enough(2)))})
    coordinator = coordinate(session, performer)
    line = line_of(coordinator)
    line.joined = True
    async with running(coordinator):
        coordinator.submit_now(ASKED, line, trio.current_time())
        coordinator.submit_now(COUNTED, line, trio.current_time())
        await wait_all_tasks_blocked()
        assert not coordinator.at_rest
        assert session.heard == [ASKED]
        assert line.outbox.depth == 0
        performer.let.set()
        await wait_all_tasks_blocked()
        assert session.heard == [ASKED, Ticked(), COUNTED]
        assert line.outbox.depth == 1
        assert trio.lowlevel.current_task() not in performer.tasks
        assert coordinator.at_rest


async def test_whoever_submits_waits_for_what_has_to_be_awaited() -> None:
    performer = Slow()
    coordinator = coordinate(Script({ModelRequested: (Reset(),)}), performer)
    line, done = line_of(coordinator), trio.Event()

    async def submit() -> None:
        await coordinator.submit(ASKED, line)
        done.set()

    async with running(coordinator) as nursery:
        nursery.start_soon(submit)
        await wait_all_tasks_blocked()
        assert not done.is_set()
        performer.let.set()
        await wait_all_tasks_blocked()
        assert done.is_set()


async def test_what_was_begun_is_done_though_its_submitter_is_cancelled() -> None:
    performer = Slow(answer=Ticked())
    session = Script({ModelRequested: (Reset(),)})
    coordinator = coordinate(session, performer)
    line = line_of(coordinator)
    async with running(coordinator):
        with trio.move_on_after(0.01):
            await coordinator.submit(ASKED, line)
        performer.let.set()
        await wait_all_tasks_blocked()
        assert session.heard == [ASKED, Ticked()]


async def test_an_error_of_the_session_ends_its_owner_and_not_whoever_handed_something_in() -> None:
    coordinator = coordinate(Script({ModelRequested: ZeroDivisionError("the session's")}))
    line = line_of(coordinator)
    raised: list[Exception] = []

    async def run() -> None:
        try:
            await coordinator.run()
        except ZeroDivisionError as error:
            raised.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        with trio.fail_after(5):
            await coordinator.submit(ASKED, line)
    assert [str(error) for error in raised] == ["the session's"]


async def test_a_deadline_that_something_handed_in_brings_forward_is_kept(autojump_clock: MockClock) -> None:
    session = Script({})
    session.deadline = 100.0
    coordinator = coordinate(session)
    line = line_of(coordinator)
    async with running(coordinator):
        session.deadline = 7.0
        coordinator.submit_now(ASKED, line, trio.current_time())
        await trio.sleep(6.9)
        assert session.heard == [ASKED]
        await trio.sleep(0.2)
        assert session.heard == [ASKED, Ticked()]


async def test_whoever_leaves_last_has_left_at_once() -> None:
    session = Script({})
    coordinator = coordinate(session)
    line = line_of(coordinator)
    async with running(coordinator):
        await coordinator.submit(HERE, line)
        coordinator.detach(line)
        assert session.heard == [HERE, Left(ME)]
