"""A short run of the fuzzer; ``python -m tests.fuzz --minutes N`` runs it for longer."""

from __future__ import annotations

import pytest

from tests.fuzz.mutation import Mutator
from tests.fuzz.running import Found, Report, feed, run
from tests.fuzz.targets import Target, targets


def test_no_input_raises_what_it_may_not() -> None:
    report = run(seed=1, inputs=40_000)
    for target in targets(0):
        assert report.refused[target.name] > 0, f"{target.name} was never fed anything wrong"


@pytest.mark.parametrize("target", targets(0), ids=lambda target: target.name)
def test_what_the_fuzzer_begins_with_means_something(target: Target) -> None:
    report = Report()
    for seed in target.seeds:
        feed(target, seed, report)
    if target.name not in ("request", "token"):
        assert report.accepted[target.name] > 0


def test_an_unexpected_exception_is_a_find() -> None:
    broken = Target("broken", [b"x"], lambda data: [][len(data)])
    with pytest.raises(Found, match="IndexError"):
        feed(broken, b"x", Report())


def test_the_same_seed_draws_the_same_inputs() -> None:
    one, two = Mutator(3), Mutator(3)
    seeds = targets(0)[0].seeds
    assert [one.draw(seeds, text=False) for _ in range(50)] == [
        two.draw(seeds, text=False) for _ in range(50)
    ]
