"""``kill -9`` while participants train: ``python -m tests.crash --minutes N`` does this for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.killing import kill_for


@pytest.mark.slow
async def test_every_round_that_anybody_was_told_of_survives_kill_9(tmp_path: Path) -> None:
    report = await kill_for(8.0, tmp_path, seed=9)
    assert report.means_something, report
