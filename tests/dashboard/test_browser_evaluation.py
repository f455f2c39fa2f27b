"""A task's page in a real browser: figures, the best round, and the end of the training, as they come."""

from __future__ import annotations

import base64
import json
import threading
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from disco.participant import BlockingParticipant
from disco.storage.catalogue import load_task
from tests.conftest import TINY
from tests.dashboard.conftest import OpenPage

pytestmark = pytest.mark.slow

LOSSES = (2.0, 1.0, 3.0, 3.0)
EVALUATION = {
    "keepBest": {"figure": "participants.loss", "mode": "min"},
    "stopping": {"figure": "participants.loss", "mode": "min", "patience": 2},
}


@pytest.fixture
def judged(dashboard: str) -> str:
    """The ID of a task that keeps its best round, and ends when the loss of its participants gets no better."""
    found = load_task(TINY / "tiny")
    weights = base64.b64encode(found.model.weights_bin(found.model.weights)).decode()
    task = {**found.task.document, "taskID": "judged", "evaluation": EVALUATION}
    body = json.dumps({"task": task, "model": found.model.tfjs_json(), "weights": weights}).encode()
    urllib.request.urlopen(urllib.request.Request(f"{dashboard}/tasks", body), timeout=30).close()
    return "judged"


def train(dashboard: str, task: str) -> None:
    """Take part until the training ends."""
    with BlockingParticipant(dashboard, task) as participant:
        while not participant.ended:
            loss = LOSSES[participant.round]
            participant.exchange(participant.weights, metrics={"loss": loss})


def test_figures_the_best_round_and_the_end_are_shown_without_reloading(
    open_page: OpenPage, dashboard: str, judged: str, picture: Callable[[Any, str], None]
) -> None:
    page = open_page(f"/tasks/{judged}")
    page.wait_for_selector("text=No round has closed yet")
    threads = [threading.Thread(target=train, args=(dashboard, judged)) for _ in range(2)]
    for thread in threads:
        thread.start()
    page.wait_for_selector(".pill:has-text('ended')")
    page.wait_for_selector("text=participants.loss has not improved on 1 of round 2 in 2 rounds")
    page.wait_for_selector("figure:has-text('participants.loss') svg[aria-label*='3 at round 4']")
    page.wait_for_selector(".best:has-text('Best round so far, 2')")
    for thread in threads:
        thread.join(20)
    with page.expect_download() as download:
        page.locator(".best").get_by_text("npz").click()
    assert download.value.suggested_filename == "judged-round-2.npz"
    picture(page, "task-ended")
