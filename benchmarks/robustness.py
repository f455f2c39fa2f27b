"""How strategies stand up to hostile participants: final accuracy on two datasets.

    python -m benchmarks.robustness            all of it, in about 4 minutes on 2 cores
    python -m benchmarks.robustness --quick    one seed

Ten participants train a small network for 30 rounds of 5 epochs, on scikit-learn's digits and breast_cancer, whose data
ship with the package. 0 to 4 of them are hostile. It runs in process on the strategies themselves, as a server
makes them of a task, without sockets: what is measured is what aggregation does, not what the wire does.

Attacks, on the change u that a participant would have contributed:

    sign flip    -10 u
    noise        normal noise, of deviation 1 in every coordinate
    label flip   trained on wrong labels: what a careless or a hostile participant may do
    scaled       10 u, trained on wrong labels
    ALIE         mean - 1.5 deviations of the honest changes, in every coordinate (Baruch et al. 2019, arXiv 1902.06156)
    IPM          the honest changes' mean, backwards (Xie et al. 2019, arXiv 1903.03936, ε = 1)

The last two know what the honest contribute, and hide among it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disco.core.aggregation.recipe import read_recipe
from disco.core.aggregation.registry import made_from
from disco.core.events import Contributed
from disco.core.names import ParticipantID
from disco.core.weights import Shape, Weights, count

RESULTS = Path(__file__).parent / "results"
IMAGE = Path(__file__).parents[1] / "docs" / "images" / "robustness.svg"
PARTICIPANTS = 10
HOSTILE = (0, 1, 2, 3, 4)
ROUNDS, EPOCHS, BATCH = 30, 5, 20
SPLITS = ("IID", "two shards each")
ATTACKS = ("sign flip", "noise", "label flip", "scaled", "ALIE", "IPM")

#: Every strategy as a task asks for it. Those that are told how many may be hostile are told 30 %.
STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "mean": {},
    "mean, clipped to norm 1": {"clipping": {"norm": 1.0}},
    "median": {"strategy": "median"},
    "trimmed-mean": {"strategy": "trimmed-mean", "parameters": {"trim": 0.3}},
    "krum": {"strategy": "krum", "parameters": {"hostile": 0.3}},
    "multi-krum": {"strategy": "multi-krum", "parameters": {"hostile": 0.3}},
    "geometric-median": {"strategy": "geometric-median"},
    "centered-clipping": {"strategy": "centered-clipping"},
}

Float32s = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """Examples, scaled, and the shapes of the network that learns them."""

    train: Float32s
    train_labels: Labels
    test: Float32s
    test_labels: Labels
    classes: int
    hidden: int
    rate: float

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Two dense layers: kernels and biases."""
        return (
            (self.train.shape[1], self.hidden),
            (self.hidden,),
            (self.hidden, self.classes),
            (self.classes,),
        )


@dataclass(frozen=True)
class Run:
    """One training."""

    dataset: str
    split: str
    attack: str
    hostile: int
    strategy: str
    seed: int


def load(name: str) -> Dataset:
    """Load a dataset that ships with scikit-learn, a fifth of it for the test."""
    from sklearn import datasets

    found = {"digits": datasets.load_digits, "breast_cancer": datasets.load_breast_cancer}[name]()
    examples, labels = found.data.astype(np.float32), found.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    examples, labels = examples[order], labels[order]
    cut = len(labels) * 4 // 5
    mean, deviation = examples[:cut].mean(axis=0), examples[:cut].std(axis=0)
    scaled = (examples / 16 if name == "digits" else (examples - mean) / deviation).astype(np.float32)
    hidden, rate = (64, 0.1) if name == "digits" else (16, 0.05)
    classes = int(labels.max()) + 1
    return Dataset(scaled[:cut], labels[:cut], scaled[cut:], labels[cut:], classes, hidden, rate)


def split(dataset: Dataset, how: str, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Deal examples to participants, as many to each: at random, or two runs of sorted labels to each."""
    size = len(dataset.train_labels) // PARTICIPANTS
    if how == "IID":
        order = rng.permutation(len(dataset.train_labels))
        return [order[index * size : (index + 1) * size] for index in range(PARTICIPANTS)]
    order = np.argsort(dataset.train_labels, kind="stable")[: size // 2 * 2 * PARTICIPANTS]
    shards = rng.permutation(order.reshape(2 * PARTICIPANTS, -1))
    return [np.concatenate(shards[2 * index : 2 * index + 2]) for index in range(PARTICIPANTS)]


def initial(dataset: Dataset, rng: np.random.Generator) -> Float32s:
    """Make the first global model (He et al. 2015)."""
    parts = [
        rng.standard_normal(shape) * np.sqrt(2 / shape[0]) if len(shape) == 2 else np.zeros(shape)
        for shape in dataset.shapes
    ]
    return np.concatenate([part.reshape(-1) for part in parts]).astype(np.float32)


def layers(flat: Float32s, dataset: Dataset) -> list[Float32s]:
    """View models, shaped (participants, parameters), as their tensors, one model after the other."""
    found, start = [], 0
    for shape in dataset.shapes:
        end = start + count([shape])
        found.append(flat[:, start:end].reshape(len(flat), *(shape if len(shape) == 2 else (1, *shape))))
        start = end
    return found


def train(
    model: Float32s, examples: Float32s, labels: Labels, dataset: Dataset, rng: np.random.Generator
) -> Float32s:
    """Train every participant on its own examples, all at once, by gradient descent on batches.

    Args:
        model: the global one, shaped (parameters,).
        examples: shaped (participants, examples, features).
        labels: shaped (participants, examples).
        dataset: whose classes and learning rate they are.
        rng: orders the examples, the same for all.

    Returns:
        Their models, shaped (participants, parameters).
    """
    flat = np.repeat(model[None], PARTICIPANTS, axis=0)
    first, first_bias, second, second_bias = layers(flat, dataset)
    targets = np.eye(dataset.classes, dtype=np.float32)[labels]
    for _ in range(EPOCHS):
        order = rng.permutation(labels.shape[1])
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            given, wanted = examples[:, chosen], targets[:, chosen]
            hidden = np.maximum(given @ first + first_bias, 0)
            error = (softmax(hidden @ second + second_bias) - wanted) / len(chosen)
            back = (error @ second.transpose(0, 2, 1)) * (hidden > 0)
            second -= dataset.rate * (hidden.transpose(0, 2, 1) @ error)
            second_bias -= dataset.rate * error.sum(axis=1, keepdims=True)
            first -= dataset.rate * (given.transpose(0, 2, 1) @ back)
            first_bias -= dataset.rate * back.sum(axis=1, keepdims=True)
    return flat


def softmax(logits: Float32s) -> Float32s:
    """Return probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Float32s = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def accuracy(model: Float32s, dataset: Dataset) -> float:
    """Return the part of the test examples that a model gets right; guessing, if it is nothing but noise."""
    first, first_bias, second, second_bias = layers(model[None], dataset)
    with np.errstate(all="ignore"):
        logits = np.maximum(dataset.test @ first[0] + first_bias[0], 0) @ second[0] + second_bias[0]
    return float((logits.argmax(axis=1) == dataset.test_labels).mean())


def attacked(changes: Float32s, run: Run, rng: np.random.Generator) -> Float32s:
    """Replace the changes of the first participants, the hostile ones, by what they contribute instead."""
    hostile, honest = changes[: run.hostile], changes[run.hostile :]
    match run.attack:
        case "sign flip":
            made = -10 * hostile
        case "noise":
            made = rng.standard_normal(hostile.shape, dtype=np.float32)
        case "scaled":
            made = 10 * hostile
        case "ALIE":
            made = np.repeat((honest.mean(axis=0) - 1.5 * honest.std(axis=0))[None], run.hostile, axis=0)
        case "IPM":
            made = np.repeat(-honest.mean(axis=0)[None], run.hostile, axis=0)
        case _:
            made = hostile
    return np.concatenate([made, honest])


def final_accuracy(run: Run) -> float:
    """Train, and return the accuracy at the end."""
    dataset = load(run.dataset)
    rng = np.random.default_rng([run.seed, 1])
    dealt = np.array(split(dataset, run.split, rng))
    examples, labels = dataset.train[dealt], dataset.train_labels[dealt].copy()
    if run.attack in ("label flip", "scaled"):
        labels[: run.hostile] = dataset.classes - 1 - labels[: run.hostile]
    strategy = made_from(read_recipe({"aggregation": STRATEGIES[run.strategy]}, "task")[0])
    model = initial(dataset, rng)
    for number in range(ROUNDS):
        trained = train(model, examples, labels, dataset, rng)
        if not np.isfinite(trained).all():
            break  # training has diverged, and the server refuses what is not finite
        changes = attacked(trained - model, run, rng)
        strategy.begin(Weights.from_flat(model, dataset.shapes), number)
        for who, change in enumerate(changes):
            update = Weights.from_flat(model + change, dataset.shapes)
            strategy.add(Contributed(ParticipantID(str(who)), number, update))
        model = strategy.finish().flat
    return accuracy(model, dataset)


def scenarios(seeds: int) -> Iterable[Run]:
    """Every training: without hostile participants there is one for all attacks."""
    for dataset in ("digits", "breast_cancer"):
        for how in SPLITS:
            for attack in ATTACKS:
                for hostile in HOSTILE:
                    for strategy in STRATEGIES:
                        for seed in range(seeds):
                            if hostile or attack == ATTACKS[0]:
                                yield Run(
                                    dataset, how, attack if hostile else "none", hostile, strategy, seed
                                )


def measure(seeds: int) -> dict[tuple[str, str, str, int, str], float]:
    """Run everything, on all cores, and return mean accuracies over the seeds."""
    runs = list(scenarios(seeds))
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of the processes that start now: each has a core to itself
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        found = pool.map(final_accuracy, runs, chunksize=8)
    sums: dict[tuple[str, str, str, int, str], list[float]] = {}
    for run, value in zip(runs, found, strict=True):
        sums.setdefault((run.dataset, run.split, run.attack, run.hostile, run.strategy), []).append(value)
    return {key: float(np.mean(values)) for key, values in sums.items()}


Accuracies = Mapping[tuple[str, str, str, int, str], float]


def table(found: Accuracies, dataset: str, how: str) -> str:
    """Write one dataset and split as Markdown: 2 and 4 hostile of 10."""
    head = ["strategy", "nobody", *ATTACKS]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |"]
    for strategy in STRATEGIES:
        cells = [f"{found[dataset, how, 'none', 0, strategy]:.2f}"]
        for attack in ATTACKS:
            few, many = (found[dataset, how, attack, hostile, strategy] for hostile in (2, 4))
            cells.append(f"{few:.2f}, {many:.2f}")
        lines.append(f"| {strategy} | {' | '.join(cells)} |")
    return "\n".join(lines)


def report(found: Accuracies) -> str:
    """Write all tables."""
    parts = [
        f"**{dataset}, {how}**\n\n{table(found, dataset, how)}"
        for dataset in ("digits", "breast_cancer")
        for how in SPLITS
    ]
    return "\n\n".join(parts) + "\n"


def draw(found: Accuracies, path: Path) -> None:
    """Plot the digits: accuracy over the hostile part, a panel for each attack and split."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "disco"
    mpl.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(SPLITS), len(ATTACKS), figsize=(16, 6), sharex=True, sharey=True)
    for row, how in enumerate(SPLITS):
        for column, attack in enumerate(ATTACKS):
            panel = axes[row][column]
            for index, strategy in enumerate(STRATEGIES):
                none = [found["digits", how, "none", 0, strategy]]
                values = none + [found["digits", how, attack, hostile, strategy] for hostile in HOSTILE[1:]]
                panel.plot(
                    [10 * hostile for hostile in HOSTILE],
                    values,
                    marker="o",
                    markersize=3,
                    color=f"C{index}",
                    label=strategy,
                )
            panel.set_title(f"{attack}, {how}", fontsize=9)
            panel.set_ylim(0, 1)
            panel.grid(alpha=0.3)
    figure.supxlabel("hostile participants, % of 10")
    figure.supylabel("accuracy after 30 rounds")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="upper center", ncols=8, fontsize=8)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")


def main(*, write: Callable[[str], None] = print) -> None:
    """Measure, print the tables and write them, the numbers and the plot into ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description="Final accuracy of strategies under attack.")
    parser.add_argument("--quick", action="store_true", help="one seed instead of two; writes nothing")
    quick = parser.parse_args().quick
    begun = time.perf_counter()
    found = measure(1 if quick else 2)
    write(report(found))
    seconds = time.perf_counter() - begun
    machine = f"{platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}"
    write(f"{len(found)} settings in {seconds:.0f} s on {machine}")
    if quick:
        return
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "robustness.md").write_text(report(found), "utf-8")
    rows = [
        dict(zip(("dataset", "split", "attack", "hostile", "strategy"), key, strict=True))
        | {"accuracy": round(value, 4)}
        for key, value in found.items()
    ]
    (RESULTS / "robustness.json").write_text(json.dumps(rows, indent=0), "utf-8")
    for path in (RESULTS / "robustness.svg", IMAGE):
        draw(found, path)


if __name__ == "__main__":
    main()
