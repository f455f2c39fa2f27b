"""What participants leave for each other beside their weights, by round and name (v2)."""

from __future__ import annotations

from disco.core.names import ParticipantID
from disco.errors import LimitExceeded


class Noticeboard:
    """Values by round, name and participant. The first value that a participant leaves stays.

    Bounded: the oldest rounds make room for new ones; a round alone over the limit refuses more.

    Source: DISCO v2 wire, postMetadata and getMetadataMap.
    """

    def __init__(self, max_entries: int, max_entry_bytes: int) -> None:
        """Set limits: values kept in all, and bytes of one value together with its name."""
        self._max_entries = max_entries
        self._max_entry_bytes = max_entry_bytes
        self._rounds: dict[int, dict[str, dict[ParticipantID, str]]] = {}

    def post(self, participant: ParticipantID, round_: int, name: str, value: str) -> None:
        """Leave a value.

        Raises:
            LimitExceeded: the value is too long, or its round has as many values as are kept; nothing changed.
        """
        size = len(name.encode()) + len(value.encode())
        if size > self._max_entry_bytes:
            raise LimitExceeded(
                f"metadata of {size} bytes is over limits.metadata_bytes, {self._max_entry_bytes}"
            )
        while self._count() >= self._max_entries:
            oldest = min(self._rounds)
            if oldest >= round_:
                raise LimitExceeded(
                    f"the round has limits.metadata_entries, {self._max_entries}, values already"
                )
            del self._rounds[oldest]
        self._rounds.setdefault(round_, {}).setdefault(name, {}).setdefault(participant, value)

    def read(self, round_: int, name: str) -> tuple[tuple[ParticipantID, str], ...]:
        """Return everybody's values under a name, of the newest round up to `round_` that has any."""
        for number in sorted(self._rounds, reverse=True):
            if number <= round_ and name in self._rounds[number]:
                return tuple(self._rounds[number][name].items())
        return ()

    def _count(self) -> int:
        return sum(len(values) for names in self._rounds.values() for values in names.values())
