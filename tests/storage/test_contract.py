"""What every store promises, asked of each: in memory, on disk, and on disk but opened anew for every call."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from disco.core.evaluation import Mark
from disco.core.model import Model
from disco.core.names import TaskID
from disco.core.weights import Weights
from disco.errors import InvalidUpdate, StorageError, TaskExists, UnknownRound, UnknownTask
from disco.storage.contract import RoundRecord, Store
from disco.storage.memory import MemoryStore
from disco.storage.sqlite import SqliteStore
from tests.storage.samples import (
    SHAPES,
    bits,
    compiled_model,
    gpt_model,
    model,
    record,
    save,
    snapshot,
    task,
    weights,
)

TITANIC = TaskID("titanic")


class StoreContract:
    @pytest.fixture
    def empty(self, tmp_path: Path) -> Any:
        raise NotImplementedError

    @pytest.fixture
    def store(self, empty: Store) -> Store:
        empty.add_task(task("titanic"), model(), "folder", 5.0)
        return empty

    def test_a_new_store_has_no_tasks(self, empty: Store) -> None:
        assert list(empty.tasks()) == []

    def test_tasks_come_back_in_the_order_they_were_added(self, empty: Store) -> None:
        for name in ("zebra", "aardvark", "Zebra"):
            empty.add_task(task(name), model(), "folder", 0.0)
        assert [stored.task.id for stored in empty.tasks()] == ["zebra", "aardvark", "Zebra"]

    def test_a_task_comes_back_as_it_was_given(self, empty: Store) -> None:
        empty.add_task(task("titanic", epochs=77), model(), "post", 1234.5678)
        (stored,) = empty.tasks()
        assert stored.task == task("titanic", epochs=77)
        assert (stored.source, stored.added_at) == ("post", 1234.5678)

    @pytest.mark.parametrize(
        "given", [model(), compiled_model(), gpt_model()], ids=["tfjs", "compiled", "gpt"]
    )
    def test_a_model_comes_back_as_it_was_given(self, empty: Store, given: Model) -> None:
        empty.add_task(task(), given, "folder", 0.0)
        found = empty.model(TITANIC)
        assert (found.kind, found.extra) == (given.kind, given.extra)
        assert dict(found.artifacts) == dict(given.artifacts)
        assert found.structure == given.structure
        assert bits(found.weights) == bits(given.weights)

    def test_the_initial_weights_are_round_0(self, store: Store) -> None:
        assert store.latest_round(TITANIC) == RoundRecord(0, 5.0, 0, 0, 0.0)
        assert bits(store.round_weights(TITANIC, 0)) == bits(model().weights)

    def test_a_taken_id_is_refused_and_nothing_changes(self, store: Store) -> None:
        save(store, "titanic", 1)
        before = snapshot(store)
        with pytest.raises(TaskExists, match="titanic"):
            store.add_task(task(epochs=99), model(3), "post", 9.0)
        assert snapshot(store) == before

    def test_ids_that_differ_in_case_are_two_tasks(self, store: Store) -> None:
        store.add_task(task("Titanic"), model(8), "post", 0.0)
        assert bits(store.model(TITANIC).weights) == bits(model().weights)
        assert bits(store.model(TaskID("Titanic")).weights) == bits(model(8).weights)

    def test_an_updated_document_keeps_rounds_and_model(self, store: Store) -> None:
        save(store, "titanic", 1)
        store.update_task(task("titanic", epochs=99))
        assert store.tasks()[0].task == task("titanic", epochs=99)
        assert store.latest_round(TITANIC) == record(1)
        assert bits(store.model(TITANIC).weights) == bits(model().weights)

    def test_a_removed_task_is_gone_and_its_id_is_free(self, store: Store) -> None:
        save(store, "titanic", 1)
        store.remove_task(TITANIC)
        assert list(store.tasks()) == []
        store.add_task(task(), model(4), "post", 0.0)
        assert [kept.number for kept in store.rounds(TITANIC)] == [0]
        assert bits(store.round_weights(TITANIC, 0)) == bits(model(4).weights)

    def test_removing_a_task_leaves_the_others(self, store: Store) -> None:
        save(store, "titanic", 1)
        before = snapshot(store)
        store.add_task(task("mnist"), model(1), "folder", 0.0)
        store.remove_task(TaskID("mnist"))
        assert snapshot(store) == before

    def test_a_saved_round_is_the_latest_bit_for_bit(self, store: Store) -> None:
        store.save_round(TITANIC, record(1, accuracy=0.1, loss=float("inf")), weights(1))
        assert store.latest_round(TITANIC) == record(1, accuracy=0.1, loss=float("inf"))
        assert bits(store.round_weights(TITANIC, 1)) == bits(weights(1))

    def test_every_bit_pattern_survives(self, empty: Store) -> None:
        patterns = np.array([0x80000000, 0x7FC00001, 0xFFC0DEAD, 0x00000001, 0x7F800000], dtype=np.uint32)
        odd = Weights.from_flat(patterns.view(np.float32), [(5,)])
        empty.add_task(task(), model(shapes=[(5,)]), "folder", 0.0)
        empty.save_round(TITANIC, record(1), odd)
        assert bits(empty.round_weights(TITANIC, 1)) == patterns.tobytes()

    def test_weights_that_are_unaligned_views_into_a_message_are_copied(self, store: Store) -> None:
        message = bytearray(b"\x17" + bits(weights(1)))
        flat = np.frombuffer(message, dtype="<f4", offset=1)
        views = Weights(SHAPES, (flat[:6], flat[6:8], flat[8:]))
        store.save_round(TITANIC, record(1), views)
        message[:] = bytes(len(message))
        assert bits(store.round_weights(TITANIC, 1)) == bits(weights(1))

    def test_tensors_without_elements_are_kept(self, empty: Store) -> None:
        shapes = [(0, 4), (2,), (0,)]
        empty.add_task(task(), model(shapes=shapes), "folder", 0.0)
        empty.save_round(TITANIC, record(1), weights(1, shapes))
        assert empty.round_weights(TITANIC, 1).equals(weights(1, shapes))

    def test_rounds_are_listed_oldest_first(self, store: Store) -> None:
        for number in (1, 2, 5):
            save(store, "titanic", number)
        assert [kept.number for kept in store.rounds(TITANIC)] == [0, 1, 2, 5]

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_a_round_that_is_not_newer_is_refused_and_nothing_changes(
        self, store: Store, number: int
    ) -> None:
        save(store, "titanic", 2)
        before = snapshot(store)
        with pytest.raises(StorageError, match=f"{number} of titanic"):
            save(store, "titanic", number)
        assert snapshot(store) == before

    def test_weights_of_another_structure_are_refused_and_nothing_changes(self, store: Store) -> None:
        before = snapshot(store)
        with pytest.raises(InvalidUpdate):
            store.save_round(TITANIC, record(1), weights(1, [(9,)]))
        assert snapshot(store) == before

    def test_old_rounds_are_forgotten_but_not_0_nor_every_hundredth(self, store: Store) -> None:
        for number in (1, 100, *range(101, 115)):
            save(store, "titanic", number)
        assert [kept.number for kept in store.rounds(TITANIC)] == [0, 100, *range(105, 115)]
        with pytest.raises(UnknownRound, match="104"):
            store.round_weights(TITANIC, 104)

    def test_totals_count_forgotten_rounds(self, store: Store) -> None:
        for number in range(1, 21):
            save(store, "titanic", number, contributions=number)
        assert store.totals(TITANIC) == (20, 210)

    def test_totals_are_0_before_the_first_round_closes(self, store: Store) -> None:
        assert store.totals(TITANIC) == (0, 0)

    def test_a_reset_brings_round_0_back_and_totals_to_0(self, store: Store) -> None:
        before = snapshot(store)
        for number in (1, 2):
            save(store, "titanic", number)
        store.reset_rounds(TITANIC)
        assert snapshot(store) == before

    def test_figures_are_added_to_a_round_and_replace_those_of_their_names(self, store: Store) -> None:
        store.save_round(TITANIC, record(1, loss=3.0, clipped=1.0), weights(1))
        store.add_figures(TITANIC, 1, {"loss": 2.0, "accuracy": 0.5})
        assert store.latest_round(TITANIC).figures == {"loss": 2.0, "accuracy": 0.5, "clipped": 1.0}
        assert bits(store.round_weights(TITANIC, 1)) == bits(weights(1))

    def test_figures_for_a_round_that_is_not_there_change_nothing(self, store: Store) -> None:
        before = snapshot(store)
        with pytest.raises(UnknownRound, match="titanic has no round 1"):
            store.add_figures(TITANIC, 1, {"loss": 2.0}, {"best": Mark(0, 2.0)})
        assert snapshot(store) == before

    def test_marks_take_the_place_of_all_there_were_and_stay_without_any(self, store: Store) -> None:
        store.add_figures(TITANIC, 0, {}, {"best": Mark(0, 2.0), "stopping": Mark(0, math.inf)})
        store.add_figures(TITANIC, 0, {"loss": 2.0})
        assert store.marks(TITANIC) == {"best": Mark(0, 2.0), "stopping": Mark(0, math.inf)}
        store.add_figures(TITANIC, 0, {}, {"best": Mark(1, -math.inf)})
        assert store.marks(TITANIC) == {"best": Mark(1, -math.inf)}

    def test_a_marked_round_is_not_forgotten_until_another_one_is_marked(self, store: Store) -> None:
        for number in range(1, 21):
            save(store, "titanic", number)
            if number == 3:
                store.add_figures(TITANIC, 3, {}, {"best": Mark(3, 0.5)})
        assert [kept.number for kept in store.rounds(TITANIC)] == [0, 3, *range(11, 21)]
        store.add_figures(TITANIC, 20, {}, {"best": Mark(20, 0.6)})
        save(store, "titanic", 21)
        assert [kept.number for kept in store.rounds(TITANIC)] == [0, *range(12, 22)]

    def test_a_reset_removes_marks(self, store: Store) -> None:
        store.add_figures(TITANIC, 0, {}, {"best": Mark(0, 2.0)})
        store.reset_rounds(TITANIC)
        assert store.marks(TITANIC) == {}

    def test_nothing_is_spent_before_the_first_round_closes(self, store: Store) -> None:
        assert store.spent(TITANIC) == 0.0

    def test_what_rounds_cost_adds_up_also_of_those_that_are_forgotten(self, store: Store) -> None:
        for number in range(1, 21):
            store.save_round(TITANIC, record(number), weights(number), cost=0.25)
        assert store.spent(TITANIC) == 5.0

    def test_a_reset_gives_nothing_back(self, store: Store) -> None:
        store.save_round(TITANIC, record(1), weights(1), cost=0.25)
        store.reset_rounds(TITANIC)
        assert store.spent(TITANIC) == 0.25

    def test_a_round_that_is_refused_costs_nothing(self, store: Store) -> None:
        store.save_round(TITANIC, record(1), weights(1), cost=0.25)
        with pytest.raises(StorageError):
            store.save_round(TITANIC, record(1), weights(1), cost=0.25)
        assert store.spent(TITANIC) == 0.25

    def test_rounds_go_on_from_1_after_a_reset(self, store: Store) -> None:
        save(store, "titanic", 1)
        store.reset_rounds(TITANIC)
        store.save_round(TITANIC, record(1), weights(99))
        assert bits(store.round_weights(TITANIC, 1)) == bits(weights(99))

    def test_tasks_have_rounds_of_their_own(self, store: Store) -> None:
        store.add_task(task("mnist"), model(1), "folder", 0.0)
        save(store, "mnist", 1)
        assert store.latest_round(TITANIC).number == 0
        assert store.totals(TITANIC) == (0, 0)

    @pytest.mark.parametrize(
        "ask",
        [
            lambda store: store.model(TaskID("nobody")),
            lambda store: store.latest_round(TaskID("nobody")),
            lambda store: store.rounds(TaskID("nobody")),
            lambda store: store.round_weights(TaskID("nobody"), 0),
            lambda store: store.totals(TaskID("nobody")),
            lambda store: store.spent(TaskID("nobody")),
            lambda store: store.marks(TaskID("nobody")),
            lambda store: store.add_figures(TaskID("nobody"), 0, {}),
            lambda store: store.reset_rounds(TaskID("nobody")),
            lambda store: store.remove_task(TaskID("nobody")),
            lambda store: store.update_task(task("nobody")),
            lambda store: save(store, "nobody", 1),
        ],
    )
    def test_an_unknown_task_is_said_to_be_unknown(self, store: Store, ask: Any) -> None:
        with pytest.raises(UnknownTask, match="nobody"):
            ask(store)

    @pytest.mark.parametrize("number", [1, -1])
    def test_an_unknown_round_is_said_to_be_unknown(self, store: Store, number: int) -> None:
        with pytest.raises(UnknownRound, match=f"titanic has no round {number}"):
            store.round_weights(TITANIC, number)


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def empty(self, tmp_path: Path) -> Store:
        return MemoryStore()


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def empty(self, tmp_path: Path) -> Iterator[Store]:
        store = SqliteStore(tmp_path)
        yield store
        store.close()


class TestSqliteStoreOfFiles(StoreContract):
    @pytest.fixture
    def empty(self, tmp_path: Path) -> Iterator[Store]:
        store = SqliteStore(tmp_path, inline_bytes=0)
        yield store
        store.close()


class TestSqliteStoreOpenedAnewForEveryCall(StoreContract):
    @pytest.fixture
    def empty(self, tmp_path: Path) -> Store:
        return cast("Store", Reopening(tmp_path))


class Reopening:
    """Passes every call on to a store that is opened for it and closed behind it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            store = SqliteStore(self._data_dir)
            try:
                return getattr(store, name)(*args, **named)
            finally:
                store.close()

        return call
