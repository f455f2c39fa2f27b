"""What a store remembers of a task from one round to the next, so as not to ask the database for it.

It is the only writer, so what it has written is what is there. Whatever changes these rows, other than a round that is
kept, makes it forget them, and so does a round that fails; the next one reads them anew.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from disco.storage.rounds import Placed, placed, state_files
from disco.storage.rows import TaskRow


@dataclass(slots=True)
class Standing:
    """A task's rows, as they are on disk.

    Args:
        row: its totals are those of when it was read.
        newest: the rounds that are kept for being the newest, oldest first; at least one, and room for no more.
        older: the rounds before them that nothing keeps.
        marked: the rounds that are singled out.
        state_files: those of what the strategy remembers.
        remembers: whether it remembers anything.
        counted: whether there is a key of what counted; if in doubt there is.
    """

    row: TaskRow
    newest: deque[Placed]
    older: list[Placed]
    marked: frozenset[int]
    state_files: set[Path]
    remembers: bool
    counted: bool

    @property
    def latest(self) -> int:
        """The newest round's number."""
        return self.newest[-1][0]

    def leaving(self, every: int) -> list[Placed]:
        """Return the rounds that nothing keeps any more when there is a newer one.

        Args:
            every: the rounds whose number is a multiple of this are kept.
        """
        number, _ = oldest = self.newest[0]
        full = len(self.newest) == self.newest.maxlen
        if full and number % every and number not in self.marked:
            return [*self.older, oldest]
        return self.older

    def advance(self, newest: Placed, state_files: set[Path], remembers: bool, counted: bool) -> None:
        """Take in that a round has been kept, and that those which were `leaving` have not."""
        self.newest.append(newest)
        self.older.clear()
        self.state_files, self.remembers = state_files, remembers
        self.counted |= counted


def read_standing(connection: sqlite3.Connection, row: TaskRow, keep_last: int, every: int) -> Standing:
    """Read how a task stands.

    Args:
        connection: the writer's.
        row: the task's, as it is now.
        keep_last: how many rounds are kept for being the newest.
        every: the rounds whose number is a multiple of this are kept.
    """
    newest = placed(connection, row, "ORDER BY number DESC LIMIT ?", keep_last)[::-1]
    older = placed(connection, row, "AND number < ? AND number % ? != 0", newest[0][0], every)
    own = (row.sequence,)
    marked = frozenset(
        number for (number,) in connection.execute("SELECT round FROM marks WHERE task = ?", own)
    )
    ((remembers, counted),) = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM states WHERE task = ?1), EXISTS (SELECT 1 FROM counted WHERE task = ?1)",
        own,
    )
    return Standing(
        row,
        deque(newest, keep_last),
        [each for each in older if each[0] not in marked],
        marked,
        state_files(connection, row),
        bool(remembers),
        bool(counted),
    )
