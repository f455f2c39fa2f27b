"""The Autobahn test suite against Disco's WebSocket layer, served by hypercorn.

The suite is a Python 2.7 program. It is installed once, into ``.autobahn`` in the checkout, by the first interpreter of
that version that is found.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import hypercorn.trio
import trio
from hypercorn.config import Config

from disco.web import hypercorn_seam
from tests.autobahn.bridge import bridge
from tests.autobahn.echo import echo

CACHE = Path(__file__).parents[2] / ".autobahn"
REQUIREMENT = "autobahntestsuite==25.10.1"

#: Framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, and auto-fragmentation. Of 9, speed under load,
#: only the large messages; 12 and 13 are about compression, which is declined.
CASES = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.*", "9.2.*", "10.*")

#: Those that go through quickly: all but the UTF-8 of 6, the large messages and auto-fragmentation.
QUICK_CASES = ("1.*", "2.*", "3.*", "4.*", "5.*", "7.*")

#: What counts as passed. Some cases only record what a server does with what the RFC leaves open.
PASSED = ("OK", "INFORMATIONAL")


@dataclass(frozen=True, slots=True)
class Case:
    """One case's outcome: how the server behaved, and how it closed."""

    name: str
    behavior: str
    behavior_close: str

    @property
    def passed(self) -> bool:
        """Whether both are as the RFC has it."""
        return self.behavior in PASSED and self.behavior_close in PASSED


def find_python() -> str | None:
    """Return a Python 2.7 that runs, from the path or from pyenv, or None."""
    on_path = shutil.which("python2.7")
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [on_path] if on_path is not None else []
    candidates += map(str, sorted(root.glob("versions/2.7*/bin/python2.7")))
    # pyenv leaves a shim on the path for every version it has, which fails unless that version is selected.
    return next((path for path in candidates if _runs(path)), None)


def _runs(python: str) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


def install(python: str) -> None:
    """Install the suite into the cache, unless it is there.

    Raises:
        subprocess.CalledProcessError: pip could not.
    """
    if (CACHE / "installed").exists():
        return
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]
    subprocess.run([*command, str(CACHE), REQUIREMENT], check=True, timeout=600)
    (CACHE / "zope" / "__init__.py").touch()
    (CACHE / "installed").touch()


async def run(python: str, cases: Sequence[str] = CASES, *, http2: bool = False) -> list[Case]:
    """Serve the echo app, run the cases against it, and return their outcomes in the suite's order.

    The suite speaks HTTP/1.1 only; `http2` puts a bridge between the two.
    """
    if not hypercorn_seam.install():
        raise RuntimeError("the installed hypercorn is not the one that Disco's WebSocket layer knows")
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(partial(hypercorn.trio.serve, echo, config))
        if http2:
            url = await nursery.start(bridge, url.partition("://")[2])
        place = CACHE / ("http2" if http2 else "http1")
        await _drive(python, url.replace("http", "ws"), cases, place)
        nursery.cancel_scope.cancel()
    return _read_report(place / "report")


async def _drive(python: str, url: str, cases: Sequence[str], place: Path) -> None:
    await trio.Path(place).mkdir(exist_ok=True)
    report = place / "report"
    shutil.rmtree(report, ignore_errors=True)
    specification = {
        "outdir": str(report),
        "servers": [{"agent": "disco", "url": url}],
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    path = trio.Path(place / "specification.json")
    await path.write_text(json.dumps(specification))
    command = [python, str(CACHE / "bin" / "wstest"), "-m", "fuzzingclient", "-s", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(CACHE)}
    await trio.run_process(command, env=environment, cwd=CACHE, capture_stdout=True, capture_stderr=True)


def _read_report(report: Path) -> list[Case]:
    outcomes = json.loads((report / "index.json").read_text())["disco"]
    cases = [Case(name, entry["behavior"], entry["behaviorClose"]) for name, entry in outcomes.items()]
    return sorted(cases, key=lambda case: [int(part) for part in case.name.split(".")])
