"""How long a client is waited for: while it says nothing, and from a message's first byte to its last. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a client, in seconds.

    Args:
        ping: of silence before it is asked for a sign of life.
        pong: more of silence after that before it is given up; whatever it sends is a sign. A page that trains answers
            nothing for seconds.
        message: from a message's first byte to its last.
        control: that a client may take to accept a pong or a ping.
        close: that a client may take to answer a close frame.
    """

    ping: float = inf
    pong: float = inf
    message: float = inf
    control: float = 60.0
    close: float = 5.0


class Vigil:
    """How long one client has been silent, and at the message that it is sending. Times are seconds of Trio's clock.

    Args:
        patience: with the client.
    """

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self.pinged = False  # and nothing came since
        self._since = inf  # when the current message was first waited for; inf between messages
        self._heard = -inf  # when something came last, or this wait began

    def wait(self, now: float, *, amid_message: bool) -> None:
        """Begin to wait for more."""
        self._heard = now
        if amid_message:
            self._since = min(self._since, now)

    def hear(self, now: float) -> None:
        """Learn that something came."""
        self._heard, self.pinged = now, False

    def end_message(self) -> None:
        """Learn that a message is whole."""
        self._since = inf

    def overdue(self, now: float) -> bool:
        """Tell whether the current message takes too long."""
        return now >= self._since + self.patience.message

    @property
    def until(self) -> float:
        """When the client will have been too slow, if nothing comes before."""
        quiet = self.patience.pong if self.pinged else self.patience.ping
        return min(self._heard + quiet, self._since + self.patience.message)
