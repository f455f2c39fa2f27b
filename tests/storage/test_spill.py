"""Room for contributions: memory up to the limit, the disk beyond it, and nothing left behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from disco.core.aggregation.median import Median
from disco.core.weights import Weights
from disco.errors import StorageError
from disco.storage.spill import SpillingSpace
from tests.core.aggregation.updates import aggregated, random_weights


def in_memory(row: np.ndarray[tuple[int], np.dtype[np.float32]]) -> bool:
    return row.base is None


def test_rows_are_in_memory_up_to_the_limit_and_mapped_beyond(tmp_path: Path) -> None:
    space = SpillingSpace(tmp_path, limit_bytes=10_000)
    rows = [space.take(1_000) for _ in range(4)]

    assert [in_memory(row) for row in rows] == [True, True, False, False]


def test_memory_given_back_is_used_again(tmp_path: Path) -> None:
    space = SpillingSpace(tmp_path, limit_bytes=4_000)
    first, second = space.take(1_000), space.take(1_000)
    space.give_back(second)
    assert not in_memory(space.take(1_000))
    space.give_back(first)

    assert in_memory(space.take(1_000))


def test_mapped_rows_hold_what_is_written(tmp_path: Path) -> None:
    space = SpillingSpace(tmp_path, limit_bytes=0)
    rows = [space.take(50_000) for _ in range(3)]
    for index, row in enumerate(rows):
        row[:] = index

    assert [float(row.sum()) for row in rows] == [0.0, 50_000.0, 100_000.0]


def test_files_have_no_names(tmp_path: Path) -> None:
    row = SpillingSpace(tmp_path, limit_bytes=0).take(1_000)
    row[:] = 1.0

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_refuses_instead_of_killing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)

    with pytest.raises(StorageError, match="disk is full"):
        SpillingSpace(tmp_path, limit_bytes=0).take(1_000)


def test_a_directory_that_is_gone_refuses(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be used for contributions"):
        SpillingSpace(tmp_path / "gone", limit_bytes=0).take(1_000)


@pytest.mark.parametrize("limit", [0, 1_000_000])
def test_a_rule_gives_the_same_result_wherever_it_holds(tmp_path: Path, limit: int) -> None:
    shape = [(100_000,)]
    updates = [random_weights(seed, 1.0, shape) for seed in range(5)]
    current = Weights.zeros(shape)

    found = aggregated(Median(SpillingSpace(tmp_path, limit)), current, updates)

    assert found.equals(aggregated(Median(), current, updates))


def test_a_rule_that_begins_a_round_gives_its_memory_back(tmp_path: Path) -> None:
    space = SpillingSpace(tmp_path, limit_bytes=4_000)
    rule = Median(space)
    current = Weights.zeros([(1_000,)])
    aggregated(rule, current, [random_weights(1, 1.0, [(1_000,)])])
    rule.begin(current)

    assert in_memory(space.take(1_000))
