"""Local privacy: what tasks ask for, the formulas of each generation, and participants that apply it."""

from __future__ import annotations

import math
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from numpy.typing import NDArray

from disco.core.aggregation.noise import gaussian
from disco.core.weights import Weights
from disco.errors import InvalidUpdate, LimitExceeded, Refused, SettingsError
from disco.participant import BlockingParticipant, ClippedNoise, LocalPrivacy, Participant, PrivacyBudget
from disco.participant.local_privacy import asked_by
from tests.conftest import TINY, Server, ServerFactory
from tests.core.aggregation.updates import poisoned, random_weights, vector
from tests.participant.together import exchange_together, filled

KEY = 5


def key() -> int:
    return KEY


def task(**training: Any) -> dict[str, Any]:
    return {"trainingInformation": {"epochs": 20, "roundDuration": 2, **training}}


def budgeted(**privacy: Any) -> dict[str, Any]:
    return task(privacy=privacy)


# ── What tasks ask for ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("document", "dialect", "expected"),
    [
        (task(), "v4", None),
        (task(clippingRadius=20), "v2", ClippedNoise(20.0)),
        (task(clippingRadius=3, noiseScale=0.5), "v2", ClippedNoise(3.0, (0.5 * 3) ** 2)),
        (task(noiseScale=0.5), "v2", ClippedNoise(None, 0.25)),
        (task(clippingRadius=3, noiseScale=0.5), "v3", ClippedNoise(3.0, 0.25)),
        (task(privacy={"clippingRadius": 3, "noiseScale": 0.5}), "v3", ClippedNoise(3.0, 0.25)),
        (task(privacy={"clippingRadius": 3, "noiseScale": 0.5}), "v4", ClippedNoise(3.0, 0.25)),
        (
            budgeted(differentialPrivacy={"epsilon": 5, "delta": 1e-4}),
            "v4",
            PrivacyBudget(5.0, 1e-4, 1.0, 10),
        ),
        (
            budgeted(differentialPrivacy={"epsilon": 5, "delta": 1e-4, "clippingRadius": 3}),
            "v3",
            PrivacyBudget(5.0, 1e-4, 3.0, 10),
        ),
        (
            budgeted(
                differentialPrivacy={"epsilon": 5, "delta": 1e-4, "clippingRadius": 3},
                byzantineFaultTolerance={"clippingRadius": 2},
            ),
            "v4",
            PrivacyBudget(5.0, 1e-4, 2.0, 10),
        ),
    ],
)
def test_a_task_asks_in_the_words_of_its_generation(
    document: dict[str, Any], dialect: str, expected: LocalPrivacy | None
) -> None:
    assert asked_by(document, dialect) == expected


@pytest.mark.parametrize("training", [{"clippingRadius": 0}, {"clippingRadius": -1, "noiseScale": 1}])
def test_a_radius_that_cannot_be_clipped_to_is_told(training: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="the task's local privacy cannot be applied: clipping_radius"):
        asked_by(task(**training), "v3")


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ({"epsilon": 0.0, "delta": 0.1}, "epsilon"),
        ({"epsilon": 1.0, "delta": 0.0}, "delta"),
        ({"epsilon": 1.0, "delta": 1.0}, "delta"),
        ({"epsilon": 1.0, "delta": 0.1, "clipping_radius": math.inf}, "clipping_radius"),
        ({"epsilon": 1.0, "delta": 0.1, "rounds": 0}, "rounds"),
    ],
)
def test_numbers_of_a_budget_are_checked(numbers: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        PrivacyBudget(**numbers)


def test_a_negative_deviation_is_refused() -> None:
    with pytest.raises(SettingsError, match="deviation"):
        ClippedNoise(1.0, -0.1)


# ── Clipping and noise (v2, v3) ──────────────────────────────────────────────────────────────────────────


def change(protected: Weights, current: Weights) -> NDArray[np.float64]:
    return protected.flat.astype(np.float64) - current.flat


def noise(size: int) -> NDArray[np.float64]:
    return gaussian(KEY).standard_normal(size)


def test_a_change_is_clipped_to_the_radius_over_all_parameters() -> None:
    current, update = random_weights(0), random_weights(1, 9.0)

    clipped = change(ClippedNoise(2.0).protect(update, current), current)

    whole = update.flat.astype(np.float64) - current.flat
    np.testing.assert_allclose(clipped, whole * 2.0 / np.linalg.norm(whole), rtol=1e-5, atol=1e-6)


def test_a_change_within_the_radius_stays_as_it_is() -> None:
    assert ClippedNoise(2.0).protect(vector(1.5), vector(0.5)).equals(vector(1.5))


def test_noise_is_added_behind_the_clipping() -> None:
    current, update = random_weights(0), random_weights(1)
    clipped = change(ClippedNoise(1.0).protect(update, current), current)

    noisy = change(ClippedNoise(1.0, 0.5, key).protect(update, current), current)

    np.testing.assert_allclose(noisy - clipped, 0.5 * noise(current.parameters), atol=1e-6)


def test_without_a_radius_noise_is_added_to_the_change() -> None:
    noisy = ClippedNoise(None, 0.5, key).protect(vector(3.0), vector(1.0))

    assert noisy.flat[0] == pytest.approx(3.0 + 0.5 * noise(1)[0])


def test_each_contribution_has_noise_of_its_own() -> None:
    privacy = ClippedNoise(1.0, 1.0)

    assert not privacy.protect(vector(1.0), vector(0.0)).equals(privacy.protect(vector(1.0), vector(0.0)))


# ── A budget (v4) ────────────────────────────────────────────────────────────────────────────────────────


def two(first: tuple[float, ...], second: tuple[float, ...]) -> Weights:
    return Weights.from_arrays([np.array(first, np.float32), np.array(second, np.float32)])


ORIGIN = two((0.0, 0.0), (0.0, 0.0))


def test_each_tensor_is_clipped_and_noised_by_its_own_radius() -> None:
    budget = PrivacyBudget(5.0, 1e-4, clipping_radius=3.0, rounds=10, keys=key)
    found = budget.protect(two((0.6, 0.8), (0.0, 6.0)), ORIGIN)

    factor = 2 * math.sqrt(2 * math.log(1.25 / 1e-5)) / 0.5
    drawn = noise(4)
    np.testing.assert_allclose(found.tensors[0], np.array([0.6, 0.8]) + 1.0 * factor * drawn[:2], rtol=1e-5)
    np.testing.assert_allclose(found.tensors[1], np.array([0.0, 3.0]) + 3.0 * factor * drawn[2:], rtol=1e-5)


def test_the_radius_is_the_mean_of_the_last_three_norms_within_the_limit() -> None:
    budget = PrivacyBudget(5.0, 1e-4, clipping_radius=5.0, rounds=10)
    for first, second in ((100.0, 1.0), (2.0, 9.0), (4.0, 9.0), (6.0, 9.0)):
        budget.protect(two((first, 0.0), (0.0, second)), ORIGIN)

    assert budget.radii() == [4.0, 5.0]


def test_a_fixed_radius_does_not_follow_the_norms() -> None:
    budget = PrivacyBudget(5.0, 1e-4, clipping_radius=5.0, adaptive=False)
    budget.protect(two((1.0, 0.0), (0.0, 9.0)), ORIGIN)

    assert budget.radii() == [5.0, 5.0]


def test_a_tensor_that_does_not_move_has_the_smallest_radius() -> None:
    budget = PrivacyBudget(5.0, 1e-4)
    budget.protect(ORIGIN, ORIGIN)

    assert budget.radii() == [1e-12, 1e-12]


def test_a_budget_is_spent_after_its_contributions() -> None:
    budget = PrivacyBudget(5.0, 1e-4, rounds=2)
    for _ in range(2):
        budget.protect(ORIGIN, ORIGIN)

    with pytest.raises(LimitExceeded, match=r"ε = 5 and δ = 0\.0001 for 2 contributions, is spent"):
        budget.protect(ORIGIN, ORIGIN)


# ── Both ─────────────────────────────────────────────────────────────────────────────────────────────────

BOTH = [ClippedNoise(1.0, 1.0), PrivacyBudget(1.0, 1e-5, rounds=100)]


@pytest.mark.parametrize("privacy", BOTH, ids=["noise", "budget"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused(privacy: LocalPrivacy, value: float) -> None:
    with pytest.raises(InvalidUpdate, match="not finite"):
        privacy.protect(poisoned(random_weights(1), value), random_weights(0))


@pytest.mark.parametrize("privacy", BOTH, ids=["noise", "budget"])
def test_another_structure_is_refused(privacy: LocalPrivacy) -> None:
    with pytest.raises(InvalidUpdate, match="tensors"):
        privacy.protect(vector(0.0), random_weights(0))


@pytest.mark.parametrize("privacy", BOTH, ids=["noise", "budget"])
def test_what_was_given_is_not_changed(privacy: LocalPrivacy) -> None:
    given, current = random_weights(1), random_weights(0)
    privacy.protect(given, current)

    assert (given.equals(random_weights(1)), current.equals(random_weights(0))) == (True, True)


# ── Participants ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def serve(start: ServerFactory, tmp_path: Path) -> ServerFactory:
    """Serve the tiny task whose participants have to clip to 0.5: `async with serve()`."""

    @asynccontextmanager
    async def starting(asked: str = "clippingRadius = 0.5") -> AsyncIterator[Server]:
        folder = tmp_path / "tasks" / "tiny"
        shutil.copytree(TINY / "tiny", folder)
        document = (TINY / "tiny" / "task.toml").read_text("utf-8")
        marked = document.replace("[trainingInformation]\n", f"[trainingInformation]\n{asked}\n")
        (folder / "task.toml").write_text(marked, "utf-8")
        async with start(tasks_dir=tmp_path / "tasks") as server:
            yield server

    return starting


def moved(model: list[NDArray[np.float32]], start: list[NDArray[np.float32]]) -> float:
    return math.sqrt(sum(float(np.sum((a - b) ** 2)) for a, b in zip(model, start, strict=True)))


@pytest.mark.parametrize("dialect", ["v2", "v3", "v4"])
async def test_a_participant_does_what_the_task_asks(serve: ServerFactory, dialect: str) -> None:
    async with (
        serve() as server,
        Participant(server.url, "tiny", dialect=dialect) as one,
        Participant(server.url, "tiny", dialect=dialect) as two,
    ):
        start = one.weights
        model, _ = await exchange_together({one: 100.0, two: 100.0})

    assert moved(model, start) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(("privacy", "expected"), [(None, 100.0), (ClippedNoise(1e6), 100.0)])
async def test_a_participant_may_choose_otherwise(
    serve: ServerFactory, privacy: LocalPrivacy | None, expected: float
) -> None:
    async with (
        serve() as server,
        Participant(server.url, "tiny", privacy=privacy) as one,
        Participant(server.url, "tiny", privacy=privacy) as two,
    ):
        model, _ = await exchange_together({one: 100.0, two: 100.0})

    np.testing.assert_allclose(model[0], expected, rtol=1e-5)


async def test_a_participant_with_a_budget_stops_when_it_is_spent(serve: ServerFactory) -> None:
    asked = "privacy = { differentialPrivacy = { epsilon = 1.0, delta = 1e-5 } }"  # and 2 epochs, so 2 rounds
    async with (
        serve(asked) as server,
        Participant(server.url, "tiny") as one,
        Participant(server.url, "tiny") as two,
    ):
        for _ in range(2):
            await exchange_together({one: 1.0, two: 1.0})
        with pytest.raises(LimitExceeded, match="budget"):
            await one.exchange(filled(one, 1.0))

        assert one.round == 2


async def test_what_cannot_count_is_refused_before_it_is_sent(serve: ServerFactory) -> None:
    async with serve() as server, Participant(server.url, "tiny") as one:
        with pytest.raises(Refused, match="tensors"):
            await one.exchange(one.weights[:2])


async def test_a_task_whose_privacy_cannot_be_applied_is_not_joined(serve: ServerFactory) -> None:
    async with serve("clippingRadius = 0") as server:
        with pytest.raises(SettingsError, match="clipping_radius must be a number above 0, not 0"):
            async with Participant(server.url, "tiny"):
                pytest.fail("joined")


async def test_a_blocking_participant_does_what_the_task_asks(serve: ServerFactory) -> None:
    def alone(url: str) -> list[NDArray[np.float32]]:
        with BlockingParticipant(url, "tiny") as mine:
            return mine.exchange([np.full_like(array, 100.0) for array in mine.weights])

    async with serve() as server, Participant(server.url, "tiny") as other:
        start = other.weights
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.exchange, filled(other, 100.0))
            model = await trio.to_thread.run_sync(alone, server.url)

    assert moved(model, start) == pytest.approx(0.5, abs=1e-4)
