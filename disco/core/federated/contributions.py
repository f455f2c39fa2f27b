"""What counts in a federated session's open round, and what counted in the rounds before."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping

from disco.core.names import ParticipantID

#: Rounds for which the keys of what counted are remembered, at least.
REMEMBERED_ROUNDS = 10


class Contributions:
    """Who has contributed to the open round, and the keys of what counted before, so that nothing counts twice."""

    def __init__(self, max_staleness: int) -> None:
        """Begin with nothing; `max_staleness` rounds behind, a contribution still counts."""
        self._rounds = max(REMEMBERED_ROUNDS, max_staleness)
        self._open: dict[ParticipantID, str | None] = {}
        self._counted: dict[str, int] = {}  # key → the round that its contribution made

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, participant: object) -> bool:
        return participant in self._open

    def __iter__(self) -> Iterator[ParticipantID]:
        return iter(tuple(self._open))

    def names(self) -> KeysView[ParticipantID]:
        """Return who has contributed to the open round, whether still present or not."""
        return self._open.keys()

    def items(self) -> ItemsView[ParticipantID, str | None]:
        """Return who has contributed to the open round, each with its contribution's key."""
        return self._open.items()

    def add(self, participant: ParticipantID, key: str | None) -> None:
        """Count a participant's contribution in the open round."""
        self._open[participant] = key

    def key_of(self, participant: ParticipantID) -> str | None:
        """Return the key of a participant's contribution to the open round."""
        return self._open[participant]

    def round_of(self, key: str | None) -> int | None:
        """Return the closed round in which a contribution with this key counted; None if in none that is remembered."""
        return None if key is None else self._counted.get(key)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the open round's contributions that have one."""
        return tuple(key for key in self._open.values() if key is not None)

    def since(self, round_: int) -> int:
        """Return the oldest round of which a contribution could still be sent again and taken for a new one.

        Args:
            round_: the current one.
        """
        return round_ - self._rounds + 1

    def close(self, round_: int) -> None:
        """Remember the open round's keys as those that made `round_`, and forget those that are too old."""
        since = self.since(round_)
        self._counted = {key: made for key, made in self._counted.items() if made >= since}
        self._counted.update(dict.fromkeys(self.keys, round_))

    def recall(self, counted: Mapping[str, int]) -> None:
        """Take the keys of what counted before, each with its round, for all that are remembered."""
        self._counted = dict(counted)

    def drop(self) -> None:
        """Begin another round: nobody has contributed to it."""
        self._open.clear()
