"""The names by which everything is told apart."""

from __future__ import annotations

from enum import StrEnum
from typing import NewType

TaskID = NewType("TaskID", str)

#: Who takes part. A UUID, or a decimal number for peers of the v2 dialect.
ParticipantID = NewType("ParticipantID", str)


class Scheme(StrEnum):
    """The two ways of learning together."""

    FEDERATED = "federated"
    DECENTRALIZED = "decentralized"
