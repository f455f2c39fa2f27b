"""Demonstrations: how data is cut, what counts as success, and whole runs on real data."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from disco.core.names import TaskID
from disco.demo.session import Course, Outcome
from disco.demo.subjects import SUBJECTS, cut
from disco.storage.reader import open_reader

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("participants", [2, 3, 5])
def test_parts_and_held_out_data_are_the_whole_and_share_nothing(subject: str, participants: int) -> None:
    examples = SUBJECTS[subject].load()
    shares = cut(examples, participants, seed=1)
    pieces = [*shares.parts, shares.held_out]
    rows = [
        row.tobytes()
        for piece in pieces
        for row in np.hstack([piece.inputs.reshape(len(piece), -1), piece.targets])
    ]
    whole = [
        row.tobytes() for row in np.hstack([examples.inputs.reshape(len(examples), -1), examples.targets])
    ]
    assert sorted(rows) == sorted(whole)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_same_seed_cuts_the_same(subject: str) -> None:
    one, two = (cut(SUBJECTS[subject].load(), 3, seed=4) for _ in range(2))
    assert all(np.array_equal(a.inputs, b.inputs) for a, b in zip(one.parts, two.parts, strict=True))


def test_measurements_are_scaled_by_the_published_ranges() -> None:
    inputs = SUBJECTS["breast_cancer"].load().inputs
    assert inputs.shape == (569, 30)
    assert np.abs(inputs).max() < 1.1


@pytest.mark.parametrize(
    ("together", "alone", "succeeds"),
    [
        (0.90, [0.80, 0.85], True),
        (0.90, [0.80, 0.95], False),
        (0.95, [0.80, 0.97], True),
        (0.9, [0.9, 0.9], False),
    ],
)
def test_success_is_beating_the_best_alone_or_reaching_the_goal(
    together: float, alone: list[float], succeeds: bool
) -> None:
    outcome = Outcome(0.94, [Course(10, [together], [value]) for value in alone])
    assert outcome.succeeded is succeeds


#: Rounds that are enough for the seed of the tests; readers get more.
ROUNDS = {"breast_cancer": 6, "digits": 4}


def run_demo(subject: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a demonstration in a process of its own, whose rounds and picture are kept in a folder."""
    command = [sys.executable, "-m", "disco", "demo", subject, "--json", *options]
    command += ["--data-dir", str(folder / "rounds"), "--png", str(folder / "curves.png")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_demo_trains_on_real_data_in_processes_and_beats_the_best_alone(
    subject: str, tmp_path: Path
) -> None:
    done = run_demo(subject, tmp_path, "--rounds", str(ROUNDS[subject]))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["together"] > figures["best_alone"] or figures["together"] >= 0.94
    assert {len(each["together"]) for each in figures["participants"]} == {ROUNDS[subject]}
    last = {each["together"][-1] for each in figures["participants"]}
    assert len(last) == 1, "everybody ends with the same model"
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_demo_goes_on_from_the_rounds_in_its_data_directory(tmp_path: Path) -> None:
    for _ in range(2):
        run_demo("breast_cancer", tmp_path, "--rounds", "1", "--participants", "2")
    with closing(open_reader(tmp_path / "rounds")) as reader:
        assert reader.latest_round(TaskID("breast_cancer")).number == 2
