"""Who is inside by a token, and the watch that sends them away when it is revoked or expires."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from disco.core.access import Caller
from disco.errors import AccessDenied
from disco.web.access import Gate


class Guests:
    """The open WebSockets that came with a token.

    Requests are judged one by one; a WebSocket is judged once, and may be open for days. So its token is looked at
    again every `seconds`.
    """

    def __init__(self, gate: Gate, seconds: float) -> None:
        """Begin with nobody inside."""
        self._gate = gate
        self._seconds = seconds
        self._inside: dict[Callable[[AccessDenied], None], Caller] = {}

    @contextmanager
    def inside(self, caller: Caller, send_away: Callable[[AccessDenied], None]) -> Iterator[None]:
        """Watch over one for as long as the block lasts.

        Args:
            caller: whose token was shown.
            send_away: is called with the reason, and does not wait.
        """
        self._inside[send_away] = caller
        try:
            yield
        finally:
            self._inside.pop(send_away, None)

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await trio.sleep(self._seconds)
            self.look()

    def look(self) -> None:
        """Send away those whose token is not valid any more."""
        for send_away, caller in tuple(self._inside.items()):
            if (objection := self._gate.objection(caller)) is not None:
                send_away(objection)
