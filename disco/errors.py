"""Every error Disco raises on purpose.

    DiscoError
    ├── SettingsError            a setting, flag or variable has a value that cannot be used
    ├── InvalidTask              a task or its model violates the schema; lists every problem
    ├── TaskExists               the task ID is taken
    ├── UnknownTask              no task has this ID
    ├── UnknownRound             the task has no such round on disk
    ├── SchemeForbidden          the task is not open in this scheme
    ├── MalformedMessage         bytes from outside that are not a message of their dialect
    │   ├── InvalidUpdate        a contribution whose weights cannot be aggregated
    │   └── InvalidFigures       figures of a model that are too many, or no finite numbers under short names
    ├── ProtocolViolation        a well-formed message that is not allowed now
    │   ├── TextMessage          a text frame, where every message is binary
    │   ├── MalformedFrame       bytes that are not WebSocket frames, or not in an order that is allowed
    │   └── MalformedText        a WebSocket text that is not UTF-8
    ├── AccessDenied             the caller may not do this
    │   ├── Unauthenticated      no token, or one that is not valid (any more)
    │   └── Forbidden            a token that does not allow it, or an origin that is not allowed
    ├── LimitExceeded            a message, rate or count above its limit
    │   └── TooMany              more at once, or more a second, than allowed; trying again later helps
    ├── Unavailable              what is asked for is being restarted or stopped
    ├── ScorerFailed             what evaluates a task's models crashed, hung, or answered nonsense
    ├── StorageError             the disk refused
    │   └── DataDirectoryInUse   another server holds the data directory
    ├── TrainingEnded            (participants) the training has ended: nothing counts any more
    ├── ConnectionLost           (participants) the server cannot be reached any more
    │   └── PeersLost            (participants) peers of a decentralized round cannot be reached any more
    └── Refused                  (participants) the server refused, with its reason
        ├── NotRecognised        (participants) 401: it wants a token, or does not take the one that was shown
        └── NotAllowed           (participants) 403: it took the token, which does not allow this

Each class knows the HTTP status and the WebSocket close code (RFC 6455, section 7.4.1) with which it is
answered, so that edges translate without a table of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class DiscoError(Exception):
    """Root of every error that Disco raises on purpose."""

    http_status: ClassVar[int] = 500
    close_code: ClassVar[int] = 1011


class SettingsError(DiscoError):
    """A setting has a value that cannot be used; the message names the setting and the allowed range."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One violation in a document from outside.

    Args:
        path: where it is, dotted, from the root of what was sent: ``task.trainingInformation.epochs``.
        problem: what is wrong there, as the rest of a sentence that begins with the path.
    """

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path} {self.problem}"


class InvalidTask(DiscoError):
    """A task or its model violates the schema. Carries every problem, not only the first."""

    http_status = 422

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Make one from all the problems found, of which there is at least one."""
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class TaskExists(DiscoError):
    """The task ID is taken."""

    http_status = 409


class UnknownTask(DiscoError):
    """No task has this ID."""

    http_status = 404
    close_code = 1008


class UnknownRound(DiscoError):
    """The task has no such round on disk."""

    http_status = 404


class SchemeForbidden(DiscoError):
    """The task is not open in this scheme."""

    http_status = 404
    close_code = 1008


class MalformedMessage(DiscoError):
    """Bytes from outside that are not a message of their dialect."""

    http_status = 400
    close_code = 1007


class InvalidUpdate(MalformedMessage):
    """A contribution whose weights cannot be aggregated; the message names the tensor and what was expected."""

    http_status = 422
    close_code = 1008


class InvalidFigures(MalformedMessage):
    """Figures that cannot be kept: too many, or one is no finite number under a short printable name."""

    http_status = 422
    close_code = 1008


class ProtocolViolation(DiscoError):
    """A well-formed message that is not allowed now, or not on this connection."""

    http_status = 400
    close_code = 1008


class TextMessage(ProtocolViolation):
    """A text frame, where every message is binary."""

    close_code = 1003


class MalformedFrame(ProtocolViolation):
    """Bytes that are not WebSocket frames, or frames in an order that is not allowed."""

    close_code = 1002


class MalformedText(ProtocolViolation):
    """A WebSocket text, or a close frame's reason, that is not UTF-8."""

    close_code = 1007


class LimitExceeded(DiscoError):
    """A message, rate or count above its limit; the message names the limit and its value."""

    http_status = 413
    close_code = 1009


class TooMany(LimitExceeded):
    """More at once, or more a second, than a limit allows; trying again later helps."""

    http_status = 429
    close_code = 1013


class AccessDenied(DiscoError):
    """The caller may not do this; the message says what would be needed."""

    http_status = 403
    close_code = 1008


class Unauthenticated(AccessDenied):
    """This needs a token and none came, or one came that is not valid (any more)."""

    http_status = 401


class Forbidden(AccessDenied):
    """The token does not allow this, or the page that asks is not of an allowed origin."""


class Unavailable(DiscoError):
    """What is asked for is being restarted or stopped; trying again later helps."""

    http_status = 503
    close_code = 1013


class ScorerFailed(DiscoError):
    """What evaluates a task's models crashed, hung, or answered nonsense. Training goes on without its figures."""


class StorageError(DiscoError):
    """The disk refused: it is full, read-only, or damaged."""

    http_status = 503


class DataDirectoryInUse(StorageError):
    """Another server holds the data directory; the message says which."""


class TrainingEnded(DiscoError):
    """The task's training has ended, and contributions do not count any more; the message says why."""


class ConnectionLost(DiscoError):
    """A participant cannot reach its server any more."""


class PeersLost(ConnectionLost):
    """Peers of a decentralized round cannot be reached, or have left it; `peers` are their IDs."""

    def __init__(self, message: str, peers: Sequence[str] = ()) -> None:
        """Make one from a sentence and the IDs of the peers that are missing."""
        super().__init__(message)
        self.peers = tuple(peers)


class Refused(DiscoError):
    """The server refused a participant's request; the message is the server's reason."""


class NotRecognised(Refused):
    """The server wants a token and was shown none, or one that is not valid (any more): HTTP 401."""


class NotAllowed(Refused):
    """The server knows whom it speaks to, and does not allow this: HTTP 403."""
