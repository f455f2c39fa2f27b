"""What the database's rows say of a task and its arrays, and which files are theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from disco.core.weights import Structure
from disco.storage.files import Kept

ROUNDS = "rounds"


@dataclass(frozen=True, slots=True)
class Held:
    """How an array is held: `content` is None if it is in a file."""

    kept: Kept
    content: bytes | None = None

    @property
    def inline_bytes(self) -> int:
        """How many bytes of it are in the database."""
        return 0 if self.content is None else self.kept.size


@dataclass(frozen=True, slots=True)
class TaskRow:
    """What the database knows of a task besides its document.

    Args:
        directory: where its files are.
        shapes: of its model's weights.
        model: the content of its model file.
        totals: closed rounds, and contributions over all of them.
    """

    sequence: int
    directory: Path
    shapes: Structure
    model: Kept
    totals: tuple[int, int]

    @property
    def model_path(self) -> Path:
        """The model's file."""
        return self.directory / self.model.name("model", ".msgpack")

    @property
    def rounds(self) -> Path:
        """The directory of the rounds' files."""
        return self.directory / ROUNDS

    def round_path(self, number: int, weights: Kept) -> Path:
        """The file of a round's weights."""
        return self.rounds / weights.name(str(number), ".f32")

    def state_path(self, name: str, number: int, state: Kept) -> Path:
        """The file of one array that the strategy remembers after a round."""
        return self.directory / state.name(f"state-{name}-{number}", ".f32")

    def files_of_round(self, number: int, weights: Held) -> set[Path]:
        """The files that a round's weights are in: one or none."""
        return {self.round_path(number, weights.kept)} if weights.content is None else set()

    def files_of_states(self, number: int, states: Mapping[str, Held]) -> set[Path]:
        """The files that the strategy's arrays after a round are in."""
        return {
            self.state_path(name, number, state.kept)
            for name, state in states.items()
            if state.content is None
        }
