"""Crashes end nothing else, and restarts come ever later."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from disco.runtime.supervision import FIRST_PAUSE, HEALTHY, LAST_PAUSE, supervise


class Life:
    """Lives some seconds, then crashes; notes when each life began."""

    def __init__(self, seconds: float, lives: int) -> None:
        self.seconds = seconds
        self.lives = lives
        self.began: list[float] = []
        self.enough = trio.Event()

    async def __call__(self, _: None, task_status: trio.TaskStatus[None]) -> None:
        self.began.append(trio.current_time())
        task_status.started()
        if len(self.began) == self.lives:
            self.enough.set()
        await trio.sleep(self.seconds)
        raise RuntimeError("a fault of ours")


async def pauses(life: Life, nursery: trio.Nursery) -> list[float]:
    await nursery.start(supervise, "it", life, None)
    await life.enough.wait()
    nursery.cancel_scope.cancel()
    return [
        round(after - before - life.seconds, 6)
        for before, after in zip(life.began, life.began[1:], strict=False)
    ]


async def test_restarts_back_off_up_to_a_limit(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    waited = await pauses(Life(0, 10), nursery)
    assert waited[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert max(waited) == LAST_PAUSE


async def test_a_long_life_resets_the_pause(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    assert await pauses(Life(HEALTHY + 1, 4), nursery) == [FIRST_PAUSE, FIRST_PAUSE, FIRST_PAUSE]


async def test_a_crash_is_logged_with_its_traceback(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        await pauses(Life(0, 2), nursery)
    assert "it crashed" in caplog.text
    assert "a fault of ours" in caplog.text


async def test_a_crash_before_the_start_goes_to_whoever_started_it() -> None:
    async def stillborn(_: None, task_status: trio.TaskStatus[None]) -> None:
        raise RuntimeError("cannot begin")

    with pytest.raises(ExceptionGroup) as group:
        async with trio.open_nursery() as nursery:
            await nursery.start(supervise, "it", stillborn, None)
    assert group.value.subgroup(RuntimeError) is not None
