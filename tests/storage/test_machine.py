"""Any sequence of calls leaves the store on disk where the plain one in memory is, across any restarts."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from disco.core.evaluation import Mark
from disco.errors import DiscoError
from disco.storage.contract import Store
from disco.storage.memory import MemoryStore
from disco.storage.reader import open_reader
from disco.storage.sqlite import SqliteStore
from tests.storage.samples import model, record, snapshot, task, weights

NAMES = st.sampled_from(["titanic", "Titanic", "mnist"])
KEEP_LAST, KEEP_EVERY = 3, 4


class StoreMachine(RuleBasedStateMachine):
    inline_bytes = 0

    def __init__(self) -> None:
        super().__init__()
        self.data_dir = Path(tempfile.mkdtemp(prefix="disco-store-"))
        self.memory = MemoryStore(keep_last=KEEP_LAST, keep_every=KEEP_EVERY)
        self.disk = self.opened()

    def opened(self) -> SqliteStore:
        return SqliteStore(
            self.data_dir, keep_last=KEEP_LAST, keep_every=KEEP_EVERY, inline_bytes=self.inline_bytes
        )

    def both(self, call: str, *args: Any) -> None:
        assert outcome(self.disk, call, *args) == outcome(self.memory, call, *args)

    @initialize()
    def begin_with_a_task(self) -> None:
        self.both("add_task", task(), model(), "folder", 0.0)

    @rule(name=NAMES, seed=st.integers(0, 3), now=st.floats(0, 2e9))
    def add_task(self, name: str, seed: int, now: float) -> None:
        self.both("add_task", task(name), model(seed), "post", now)

    @rule(name=NAMES, epochs=st.integers(1, 5))
    def update_task(self, name: str, epochs: int) -> None:
        self.both("update_task", task(name, epochs=epochs))

    @rule(name=NAMES)
    def remove_task(self, name: str) -> None:
        self.both("remove_task", task(name).id)

    @rule(
        name=NAMES,
        step=st.integers(0, 2),
        contributions=st.integers(0, 9),
        seed=st.integers(0, 3),
        remembered=st.lists(st.sampled_from(["fedadam-m", "fedadam-v"]), unique=True),
    )
    def save_round(self, name: str, step: int, contributions: int, seed: int, remembered: list[str]) -> None:
        number = step
        with suppress(DiscoError):
            number += self.memory.latest_round(task(name).id).number
        state = {each: weights(seed).flat for each in remembered}
        self.both("save_round", task(name).id, record(number, contributions), weights(seed), state)

    @rule()
    def tidy(self) -> None:
        self.both("tidy")
        assert not self.disk.untidy

    @rule(
        name=NAMES,
        number=st.integers(0, 9),
        figure=st.sampled_from(["loss", "accuracy"]),
        value=st.floats(allow_nan=False, allow_infinity=False),
        marked=st.none() | st.dictionaries(st.sampled_from(["best", "ended"]), st.integers(0, 9)),
    )
    def add_figures(
        self, name: str, number: int, figure: str, value: float, marked: dict[str, int] | None
    ) -> None:
        marks = None if marked is None else {mark: Mark(round_, value) for mark, round_ in marked.items()}
        self.both("add_figures", task(name).id, number, {figure: value}, marks)

    @rule(name=NAMES)
    def reset_rounds(self, name: str) -> None:
        self.both("reset_rounds", task(name).id)

    @rule(name=NAMES, keep_last=st.integers(1, 3), every=st.integers(1, 5))
    def prune(self, name: str, keep_last: int, every: int) -> None:
        self.both("prune", task(name).id, keep_last, every)

    @rule()
    def restart(self) -> None:
        self.disk.close()
        self.disk = self.opened()

    @invariant()
    def both_say_the_same(self) -> None:
        assert snapshot(self.disk) == snapshot(self.memory)

    @invariant()
    def the_disk_holds_what_is_kept_and_no_more(self) -> None:
        kept = sum(len(self.memory.rounds(stored.task.id)) for stored in self.memory.tasks())
        states = sum(len(self.memory.latest_state(stored.task.id)) for stored in self.memory.tasks())
        found = [path for path in (self.data_dir / "tasks").rglob("*") if path.is_file()]
        arrays = 0 if self.inline_bytes else kept + states
        if not self.disk.untidy:
            assert len(found) == arrays + len(self.memory.tasks())

    def teardown(self) -> None:
        self.disk.close()
        reader = open_reader(self.data_dir)
        tasks = len(reader.tasks())
        reader.close()
        shutil.rmtree(self.data_dir)
        assert tasks == len(self.memory.tasks())


def outcome(store: Store, call: str, *args: Any) -> type | None:
    try:
        getattr(store, call)(*args)
    except DiscoError as error:
        return type(error)
    return None


class RowsMachine(StoreMachine):
    inline_bytes = 1_000


_SETTINGS = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

TestArraysInFiles = StoreMachine.TestCase
TestArraysInRows = RowsMachine.TestCase
TestArraysInFiles.settings = TestArraysInRows.settings = _SETTINGS
