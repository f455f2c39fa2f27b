"""The examples of docs/participants.md, run as their readers run them: in two processes at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.test_launch import launched

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "participants.md").read_text("utf-8"), re.DOTALL
)
TITLES = ["scikit-learn", "PyTorch", "Trio"]


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=TITLES)
def test_an_example_runs_in_two_processes(example: str, tmp_path: Path) -> None:
    if "import torch" in example and find_spec("torch") is None:
        pytest.skip("PyTorch is not locked; docs/contributing.md tells how to run its tests")
    bundled = {"DISCO_TASKS_DIR": str(ROOT / "tasks")}
    with launched("disco", "serve", "--port", "0", data=tmp_path / "data", **bundled) as (_, url):
        script = tmp_path / "example.py"
        script.write_text(example.replace("http://127.0.0.1:8080", url))
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        readers = [
            subprocess.Popen(
                [sys.executable, script], cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
            for _ in range(2)
        ]  # fmt: skip
        said = [reader.communicate(timeout=60)[0] for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0], said
