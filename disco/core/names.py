"""The names by which everything is told apart."""

from __future__ import annotations

from typing import NewType

TaskID = NewType("TaskID", str)

#: Who takes part. A UUID, or a decimal number for peers of the v2 dialect.
ParticipantID = NewType("ParticipantID", str)
