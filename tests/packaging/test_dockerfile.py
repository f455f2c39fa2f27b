"""The Dockerfile: linted, and its steps done in a folder where no engine runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.docs.pages import free_port
from tests.packaging.dockerfile import Stage, lint, stages

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text("utf-8")
GOOD = 'FROM python:3.13-slim\nUSER disco\nHEALTHCHECK CMD ["true"]\nCMD ["disco", "serve"]\n'


def test_the_dockerfile_has_no_faults() -> None:
    assert lint(TEXT) == []


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (("python:3.13-slim", "python"), "python is not pinned"),
        (("python:3.13-slim", "host:5000/python:latest"), "not pinned"),
        (("USER disco", "USER root"), "runs as root"),
        (("USER disco\n", ""), "runs as root"),
        (('HEALTHCHECK CMD ["true"]', "HEALTHCHECK NONE"), "no HEALTHCHECK"),
        (('CMD ["disco", "serve"]', "CMD disco serve"), "shell form"),
        (("USER", "RUN pip install x\nUSER"), "pip keeps its cache"),
        (("USER", "RUN apt-get update && \\\n apt-get install x\nUSER"), "line 2: apt-get keeps its lists"),
        (("USER", "ADD x /x\nUSER"), "COPY says"),
        (("USER", "WORKDIR data\nUSER"), "WORKDIR is relative"),
        (("USER", "RUN pip install --no-cache-dir -r x.txt\nUSER"), "without their hashes"),
    ],
)
def test_a_fault_is_found(fault: tuple[str, str], problem: str) -> None:
    assert lint(GOOD) == []
    problems = lint(GOOD.replace(*fault))
    assert len(problems) == 1
    assert problem in problems[0]


def test_the_context_holds_everything_that_is_copied() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    for stage in stages(TEXT):
        for copy in stage.all("COPY"):
            if "--from" not in copy.rest:
                sources = copy.words[:-1]
                assert [source for source in sources if not (ROOT / source).exists()] == []
                if "*" in ignored:
                    wanted = {f"!{source}" for source in sources}
                    assert {line for line in wanted if not _allowed(line, ignored)} == set()


def _allowed(line: str, ignored: list[str]) -> bool:
    return any(line == entry or line.startswith(entry.rstrip("/") + "/") for entry in ignored)


def test_the_address_is_the_one_that_is_exposed_and_checked() -> None:
    image = stages(TEXT)[-1]
    variables = dict(word.split("=", 1) for env in image.all("ENV") for word in env.words)
    exposed, checked = image.last("EXPOSE"), image.last("HEALTHCHECK")
    assert exposed is not None
    assert checked is not None
    assert variables["DISCO_PORT"] == exposed.rest
    assert f"127.0.0.1:{exposed.rest}/healthz" in checked.rest
    assert variables["DISCO_HOST"] == "0.0.0.0"


class Engine:
    """Does the steps of a Dockerfile's stages in folders, as far as that can be done without an engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.optional = folder / "opt"
        self.programs = folder / "bin"
        self.programs.mkdir(parents=True)
        python = self.programs / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)

    def build(self, stage: Stage) -> None:
        context = self.folder / stage.name
        context.mkdir()
        for step in stage.instructions:
            if step.name == "COPY":
                self._copy(step.words, context)
            elif step.name == "RUN":
                self.run(["sh", "-ec", self.moved(step.rest)], context)

    def _copy(self, words: list[str], context: Path) -> None:
        *sources, target = words
        for source in sources:
            into = context / target / Path(source).name if target.endswith("/") else context / target
            into.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, into)

    def moved(self, text: str) -> str:
        """Put what the image has in /opt into our folder."""
        return text.replace("/opt/", f"{self.optional}/")

    def run(self, command: list[str], folder: Path) -> None:
        done = subprocess.run(
            command,
            cwd=folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if re.search("Temporary failure in name resolution|Network is unreachable", done.stderr):
            missing("the package index cannot be reached")
        assert done.returncode == 0, done.stderr[-3000:]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "TMPDIR")}
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        # pip's way to say "do not": compiling is most of an installation's time, and few modules are imported here.
        pip["PIP_NO_COMPILE"] = "0"
        return {**kept, **pip, "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"}

    @contextmanager
    def started(self, image: Stage, data: Path, port: int) -> Iterator[dict[str, str]]:
        """Start what the image starts, with its environment but for the port and the place of its data."""
        given = dict(word.split("=", 1) for env in image.all("ENV") for word in env.words)
        path = self.moved(given.pop("PATH").replace("$PATH", self.environment["PATH"]))
        changed = {
            "PATH": path,
            "DISCO_PORT": str(port),
            "DISCO_DATA_DIR": str(data),
            "DISCO_HOST": "127.0.0.1",
        }
        environment = {**self.environment, **given, **changed}
        start = image.last("CMD")
        assert start is not None
        # Popen looks programs up in our own PATH: name the one that the image's PATH finds.
        program, *arguments = start.words
        found = shutil.which(program, path=path)
        assert found is not None, f"{program} is not in the image"
        with subprocess.Popen(
            [found, *arguments], cwd=data, env=environment, stdout=subprocess.DEVNULL
        ) as process:
            try:
                yield environment
            finally:
                process.terminate()
                process.wait(30)


@pytest.mark.slow
def test_its_steps_make_a_server_that_passes_its_health_check(tmp_path: Path) -> None:
    build, image = stages(TEXT)
    engine, port = Engine(tmp_path), free_port()
    engine.build(build)
    data = tmp_path / "data"
    data.mkdir()
    with engine.started(image, data, port) as environment:
        check = image.last("HEALTHCHECK")
        assert check is not None
        words = check.rest[check.rest.index("[") :].replace("8080", str(port))
        for _ in range(100):
            healthy = subprocess.run(json.loads(words), env=environment, capture_output=True, check=False)
            if healthy.returncode == 0:
                break
            time.sleep(0.1)
        else:
            pytest.fail(healthy.stderr.decode())
    assert any(data.iterdir()), "its data is not where the volume is"
