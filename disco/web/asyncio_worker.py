"""Makes plain ``hypercorn disco.app:app`` work: without ``-k trio``, hypercorn runs its asyncio worker.

That worker imports the app before its event loop starts. At that moment this module replaces the function which
would start the loop by hypercorn's own Trio worker, which then serves in the same process with the same
configuration and sockets. Nothing is replaced anywhere else: under ``-k trio``, in tests and in `disco serve` the
call does nothing.
"""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import Any

log = logging.getLogger("disco.web")


def hand_over_to_trio() -> bool:
    """Take the asyncio worker over if it is importing the app right now; tell whether it did."""
    worker = sys.modules.get("hypercorn.asyncio.run")
    frame: Any = sys._getframe()
    while frame is not None and not (
        frame.f_code.co_name == "asyncio_worker" and frame.f_globals["__name__"] == "hypercorn.asyncio.run"
    ):
        frame = frame.f_back
    if worker is None or frame is None:
        return False
    worker._run = _run_trio  # type: ignore[attr-defined]
    return True


def _run_trio(
    main: Any, *, debug: bool = False, shutdown_trigger: Any = None, loop_factory: Any = None
) -> None:
    """Stand in for ``hypercorn.asyncio.run._run``: same arguments, served by Trio.

    Args:
        main: a partial of the asyncio ``worker_serve(app, config, sockets=…)``.
        debug: asyncio's, without meaning here.
        shutdown_trigger: the parent process's, bound to asyncio's sleep; None in a single process.
        loop_factory: asyncio's, without meaning here.
    """
    import trio
    from hypercorn.trio.run import worker_serve
    from hypercorn.utils import check_multiprocess_shutdown_event

    app, config = main.args
    sockets = main.keywords["sockets"]
    for each in (*sockets.secure_sockets, *sockets.insecure_sockets) if sockets is not None else ():
        each.listen(config.backlog)
    trigger = None
    if shutdown_trigger is not None:
        event = shutdown_trigger.args[0]
        trigger = partial(check_multiprocess_shutdown_event, event, trio.sleep)
    trio.run(partial(worker_serve, app, config, sockets=sockets, shutdown_trigger=trigger))
