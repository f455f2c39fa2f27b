"""Keeps what must run running."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

log = logging.getLogger("disco.runtime")

ArgumentT = TypeVar("ArgumentT")

#: Seconds before the first restart; doubled for each further one, up to the last.
FIRST_PAUSE, LAST_PAUSE = 0.5, 60.0
#: Seconds of life after which a crash counts as the first again.
HEALTHY = 60.0


async def supervise(
    name: str,
    life: Callable[[ArgumentT, trio.TaskStatus[None]], Awaitable[None]],
    argument: ArgumentT,
    report: Callable[[Exception, float], None] = lambda error, pause: None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run `life` again and again, pausing longer after each crash, until cancelled.

    The first life decides the start: what it raises before it calls ``task_status.started()`` goes to whoever started
    the supervision. Later crashes are logged with their traceback and end nothing else; `report` is told of each, with
    the seconds until the next life.
    """
    started = _Once(task_status)
    pause = FIRST_PAUSE
    while True:
        began = trio.current_time()
        try:
            await life(argument, started)
        except Exception as error:
            if not started.called:
                raise
            if trio.current_time() - began > HEALTHY:
                pause = FIRST_PAUSE
            log.exception("%s crashed; it starts again in %g s", name, pause)
            report(error, pause)
        await trio.sleep(pause)
        pause = min(2 * pause, LAST_PAUSE)


class _Once(trio.TaskStatus[None]):
    """Passes on the first `started` only, since every life calls it."""

    def __init__(self, status: trio.TaskStatus[None]) -> None:
        self._status = status
        self.called = False

    def started(self, value: None = None) -> None:
        """Tell that the first life has begun."""
        if not self.called:
            self.called = True
            self._status.started()
