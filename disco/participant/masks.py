"""Whether a task has masks, and who takes part in it then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from disco.errors import Refused, SettingsError
from disco.participant.attendance import Attendance, Place
from disco.participant.standing import MASKED, News, Standing


def attendance_for(
    document: Mapping[str, Any],
    place: Place,
    standing: Standing,
    on_news: Callable[[News], None] | None,
    group_secret: str | None,
) -> Attendance:
    """Return the presence of a participant in a task: one that masks, and speaks the dialect for it, if the task asks.

    Args:
        document: the task's, as the server gave it.
        place: where.
        standing: what is known; its habits are changed to those of masked rounds.
        on_news: is called with what happens.
        group_secret: what the participants know and the server does not; with it, a task without masks is refused.

    Raises:
        Refused: a task without masks, or with terms that no server should have.
        SettingsError: what masks are made with is not installed.
    """
    aggregation = document.get("aggregation")
    if not isinstance(aggregation, dict) or "masking" not in aggregation:
        if group_secret is not None:
            raise Refused(f"the task {place.task!r} masks nothing, and group_secret says that it must")
        return Attendance(place, standing, on_news)
    try:
        from disco.participant.masked import MaskedAttendance, footing_of
    except ImportError as error:
        needed = "the package cryptography: pip install 'disco-server[participant]'"
        raise SettingsError(f"the task masks contributions, which needs {needed}") from error
    standing.habits = MASKED
    footing = footing_of(document, place.task, (group_secret or "").encode())
    return MaskedAttendance(place, standing, on_news, footing)
