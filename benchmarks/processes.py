"""The servers that are measured, each a process of its own that ends with its block.

Disco is started as people start it: ``disco serve`` and ``hypercorn -k trio disco.app:app``, on an empty data
directory. Its peers are in `benchmarks/peers`: a minimal server on Node's `ws`, and Flower's.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "benchmarks" / "peers"
FLOWER_VERSION = "1.42.0"
START_SECONDS = 60.0
STOP_SECONDS = 3.0
#: A program that takes longer hangs, and is killed.
PATIENCE_SECONDS = 900.0


class PeerMissing(Exception):
    """A peer cannot be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is measured: its port and, where known, its process."""

    name: str
    port: int
    process: int | None

    def memory(self, field: str = "VmRSS") -> float | None:
        """Return its memory in megabytes: VmRSS now, VmHWM at its peak; None where it is not known."""
        return memory(self.process, field)


def memory(process: int | None, field: str) -> float | None:
    """Return a field of a process's memory in megabytes: VmRSS now, VmHWM at its peak."""
    if process is None:
        return None
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    return int(found[1]) * 1024 / 1e6 if found else None


def forget_peak(process: int | None) -> None:
    """Let the process's peak memory begin anew (proc(5), clear_refs)."""
    if process is not None:
        Path(f"/proc/{process}/clear_refs").write_text("5")


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def allow_files(count: int) -> bool:
    """Let this process, and those it starts, open so many files; False where the system does not allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return True
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(count, hard)))
    except (ValueError, OSError):
        return False
    return True


@contextmanager
def process(
    command: Sequence[str], cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a program whose output can be read, until the block ends."""
    environ = {**os.environ, **(environment or {})}
    with subprocess.Popen(
        command, cwd=cwd, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as running:  # fmt: skip
        watchdog = threading.Timer(PATIENCE_SECONDS, end, [running.pid, signal.SIGKILL])
        watchdog.daemon = True
        watchdog.start()
        try:
            yield running
        finally:
            watchdog.cancel()
            end(running.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                running.wait(STOP_SECONDS)
            end(running.pid, signal.SIGKILL)


def end(group: int, number: signal.Signals) -> None:
    """Send a signal to a program and to what it started."""
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def said(running: subprocess.Popen[str], pattern: str) -> str:
    """Read a program's output up to the line that matches; returns the pattern's group.

    Raises:
        PeerMissing: it ended without having said so.
    """
    assert running.stdout is not None
    for line in running.stdout:
        if found := re.search(pattern, line):
            return found[1]
    raise PeerMissing(f"{running.args!r} ended without {pattern!r}")


@contextmanager
def disco(**settings: str) -> Iterator[Server]:
    """Run this checkout's ``disco serve`` on a free port; `settings` are environment variables."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as none:
        command = [sys.executable, "-m", "disco", "serve", "--port", "0", "--log-level", "error"]
        places = {"DISCO_DATA_DIR": folder, "DISCO_TASKS_DIR": none, "COLUMNS": "200"}
        with process(command, environment={**places, **settings}) as running:
            yield Server("disco", int(said(running, r"address .*:(\d+)/")), running.pid)


def disco_in_memory() -> AbstractContextManager[Server]:
    """Run this checkout's ``disco serve --ephemeral``, which keeps what Node and Flower keep: nothing."""
    return disco(DISCO_STORAGE_MEDIUM="memory")


@contextmanager
def hypercorn(**settings: str) -> Iterator[Server]:
    """Run the same app as ``hypercorn -k trio disco.app:app``."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as none:
        command = [sys.executable, "-m", "hypercorn", "-k", "trio", "--bind", f"127.0.0.1:{port}"]
        command += ["--log-level", "error", "disco.app:app"]
        places = {"DISCO_DATA_DIR": folder, "DISCO_TASKS_DIR": none, "DISCO_ACCESS_MANAGE": "open"}
        with process(command, environment={**places, **settings}) as running:
            wait_for_port(port)
            yield Server("hypercorn", port, worker_of(running.pid))


def worker_of(parent: int) -> int:
    """Return the process that serves: hypercorn's largest child, or the process itself."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return max(map(int, children), key=lambda child: memory(child, "VmRSS") or 0.0, default=parent)


def wait_for_port(port: int) -> None:
    """Wait until somebody listens.

    Raises:
        PeerMissing: nobody does in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise PeerMissing(f"nobody listens on port {port} after {START_SECONDS:g} s")


@contextmanager
def node(participants: int = 2) -> Iterator[Server]:
    """Run the minimal Node server, whose rounds take so many participants.

    Raises:
        PeerMissing: Node or its packages cannot be had.
    """
    install_node()
    with process(["node", "node_server.mjs", str(participants)], cwd=PEERS) as running:
        yield Server("node", int(said(running, r"(\d+)")), running.pid)


def install_node() -> None:
    """Install the Node server's packages unless they are there."""
    if shutil.which("node") is None:
        raise PeerMissing("Node is not installed")
    if not (PEERS / "node_modules").exists():
        command = ["npm", "ci", "--silent", "--no-audit", "--no-fund"]
        if shutil.which("npm") is None or subprocess.run(command, cwd=PEERS, check=False).returncode:
            raise PeerMissing("npm cannot install the packages of benchmarks/peers")


def tools(package: str, version: str) -> Path:
    """Return the programs of a PyPI package in an environment of its own, made on first use outside the checkout.

    Raises:
        PeerMissing: it cannot be installed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "disco-benchmarks" / f"{package}-{version}"
    programs, ready = folder / "bin", folder / "ready"
    if not ready.exists():
        print(f"installing {package} {version} into {folder}", file=sys.stderr)
        install = [str(programs / "python"), "-m", "pip", "install", "--quiet", f"{package}=={version}"]
        for command in ([sys.executable, "-m", "venv", "--clear", str(folder)], install):
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
                raise PeerMissing(f"{package} {version} cannot be installed: {reason}")
        ready.touch()
    return programs


@contextmanager
def echo(name: str) -> Iterator[Server]:
    """Run one of the servers of `benchmarks.servers`, which do nothing but move bytes."""
    with process([sys.executable, "-m", "benchmarks.servers", name]) as running:
        yield Server(name, int(said(running, r"(\d+)")), running.pid)
