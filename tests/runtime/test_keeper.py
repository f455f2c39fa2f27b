"""Calls of a store from Trio: in order, finished once begun, and answered before what they leave is tidied up."""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from disco.core.names import TaskID
from disco.errors import InvalidTask, UnknownTask
from disco.metrics import Metrics
from disco.runtime.keeper import Keeper
from disco.storage.contract import RoundRecord
from disco.storage.memory import MemoryStore
from disco.storage.sqlite import SqliteStore
from tests.storage.samples import model, record, task, weights

TITANIC = TaskID("titanic")
SECONDS = 10.0


class Slow(MemoryStore):
    """A store whose `rounds` and `tidy` take until they are let through. It writes down what it does."""

    durable = True

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        self.may_answer, self.may_tidy = threading.Event(), threading.Event()
        self.left = False
        self.add_task(task(), model(), "folder", 0.0)

    def rounds(self, task: TaskID) -> Any:
        assert self.may_answer.wait(SECONDS)
        self.done.append(f"rounds {task}")
        return []

    def spent(self, task: TaskID) -> float:
        self.done.append(f"spent {task}")
        return 0.0

    @property
    def untidy(self) -> bool:
        return self.left

    def tidy(self) -> None:
        assert self.may_tidy.wait(SECONDS)
        self.left = False
        self.done.append("tidy")


async def test_what_a_method_returns_and_raises_comes_back(tmp_path: Path) -> None:
    metrics = Metrics()
    keeper = Keeper(SqliteStore(tmp_path), metrics)
    await keeper.add_task(task(), model(), "folder", 0.0)
    await keeper.save_round(TITANIC, record(1), weights(1))
    assert await keeper.rounds(TITANIC) == [RoundRecord(0, 0.0, 0, 0, 0.0), record(1)]
    with pytest.raises(UnknownTask):
        await keeper.spent(TaskID("nobody"))
    await keeper.close()
    assert 'disco_store_seconds_count{operation="spent"} 1' in metrics.exposition()


async def test_calls_are_made_one_at_a_time_in_their_order() -> None:
    store = Slow()
    keeper = Keeper(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.rounds, TaskID("1"))
        for name in "2345":
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(keeper.spent, TaskID(name))
        await trio.testing.wait_all_tasks_blocked()
        assert store.done == []
        store.may_answer.set()
    assert store.done == ["rounds 1", "spent 2", "spent 3", "spent 4", "spent 5"]


async def test_a_call_that_has_begun_is_finished_though_its_caller_is_cancelled() -> None:
    store = Slow()
    keeper = Keeper(store)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.rounds, TITANIC)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            store.may_answer.set()
    assert store.done == ["rounds titanic"]
    await keeper.spent(TITANIC)


async def test_a_call_that_waits_for_its_turn_can_be_cancelled_and_loses_nobody_s_turn() -> None:
    store = Slow()
    keeper = Keeper(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.rounds, TITANIC)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await keeper.spent(TITANIC)
        store.may_answer.set()
    await keeper.spent(TaskID("later"))
    assert store.done == ["rounds titanic", "spent later"]


async def test_a_caller_who_is_cancelled_already_makes_no_call() -> None:
    store = Slow()
    with trio.CancelScope() as scope:
        scope.cancel()
        await Keeper(store).spent(TITANIC)
    assert scope.cancelled_caught
    assert store.done == []


async def test_a_caller_is_answered_before_the_tidying_up_and_the_next_call_waits_for_it() -> None:
    store = Slow()
    keeper = Keeper(store)
    store.left = True
    with trio.fail_after(SECONDS):
        await keeper.spent(TaskID("1"))
        assert store.done == ["spent 1"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.spent, TaskID("2"))
            await trio.testing.wait_all_tasks_blocked()
            assert store.done == ["spent 1"]
            store.may_tidy.set()
    assert store.done == ["spent 1", "tidy", "spent 2"]


async def test_a_tidying_up_that_fails_is_logged_and_the_next_call_is_made(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Slow()
    keeper = Keeper(store)
    store.left = True

    def broken() -> None:
        store.left = False
        raise ZeroDivisionError

    monkeypatch.setattr(store, "tidy", broken)
    with caplog.at_level(logging.ERROR, "disco.runtime"):
        await keeper.spent(TaskID("1"))
        await keeper.spent(TaskID("2"))
    assert store.done == ["spent 1", "spent 2"]
    assert "cannot be tidied up" in caplog.text


async def test_the_files_of_forgotten_rounds_are_gone_when_the_next_call_is_made(tmp_path: Path) -> None:
    keeper = Keeper(SqliteStore(tmp_path, keep_last=1, inline_bytes=0))
    await keeper.add_task(task(), model(), "folder", 0.0)
    for number in range(1, 6):
        await keeper.save_round(TITANIC, record(number), weights(number))
        assert len(await keeper.rounds(TITANIC)) == len(files_of_rounds(tmp_path)) == 2
    await keeper.close()
    with closing(SqliteStore(tmp_path)) as again:
        assert again.latest_round(TITANIC) == record(5)


def files_of_rounds(data_dir: Path) -> list[Path]:
    return list(data_dir.rglob("rounds/*"))


async def test_a_store_that_never_waits_is_called_without_a_thread() -> None:
    threads: list[threading.Thread] = []

    class Here(MemoryStore):
        def spent(self, task: TaskID) -> float:
            threads.append(threading.current_thread())
            return super().spent(task)

    store = Here()
    store.add_task(task(), model(), "folder", 0.0)
    assert await Keeper(store).spent(TITANIC) == 0.0
    assert threads == [threading.current_thread()]


async def test_a_privacy_budget_is_not_kept_where_a_restart_gives_it_back() -> None:
    table = {"privacy": {"clippingNorm": 1.0, "noiseMultiplier": 1.0, "epsilonBudget": 8.0}}
    private = replace(task(), document={**task().document, "aggregation": table})
    with pytest.raises(
        InvalidTask, match=r"task\.aggregation\.privacy\.epsilonBudget .*storage\.medium = disk"
    ):
        await Keeper(MemoryStore()).add_task(private, model(), "folder", 0.0)
