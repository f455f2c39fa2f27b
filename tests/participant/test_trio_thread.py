"""A Trio loop for code that has none."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest
import trio

from disco.participant.trio_thread import TrioThread


@pytest.fixture
def loop() -> Iterator[TrioThread]:
    """A loop; Ctrl-C is an exception, though whoever runs the tests may ignore it, as shells' background jobs do."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = TrioThread("tested")
    yield thread
    thread.stop()
    signal.signal(signal.SIGINT, before)


def test_a_call_that_is_interrupted_has_ended_when_the_interrupt_goes_on(loop: TrioThread) -> None:
    here, ended = threading.main_thread().ident, []
    assert here is not None

    async def interrupted() -> None:
        signal.pthread_kill(here, signal.SIGINT)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                for _ in range(1000):  # slow to end
                    await trio.lowlevel.checkpoint()
            ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        loop.call(interrupted)
    assert ended
