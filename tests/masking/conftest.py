"""Servers of the tiny task, with masks."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Server, ServerFactory

#: Secure, in DISCO's word for it.
SECURE = 'aggregationStrategy = "secure"\nminNbOfParticipants = 3'


@pytest.fixture
def serve(start: ServerFactory, tmp_path: Path) -> ServerFactory:
    """Serve the tiny task with masks: `async with serve(masking="dropouts = 0.4") as server`."""

    @asynccontextmanager
    async def starting(masking: str = "", optimizer: str = "", **changes: Any) -> AsyncIterator[Server]:
        folder = tmp_path / "masked" / "tiny"
        shutil.copytree(TINY / "tiny", folder, dirs_exist_ok=True)
        document = (TINY / "tiny" / "task.toml").read_text("utf-8")
        document = document.replace("minNbOfParticipants = 2", SECURE)
        table = f"\n[aggregation]\nmasking = {{ {masking or 'range = 16.0'} }}\n{optimizer}\n"
        (folder / "task.toml").write_text(document + table, "utf-8")
        async with start(tasks_dir=tmp_path / "masked", **changes) as server:
            yield server

    return starting
