"""How long a round takes with Flower's SuperLink, which `flwr run` uses today.

    python -m benchmarks --only superlink

SuperLink, SuperExec and SuperNodes are Flower's own programs, each a process as Flower's users start it; the app is
`benchmarks/peers/flower/superlink`. They speak HTTP without TLS, and keep their state in memory, as by default.

A round goes from the moment in which all ClientApps, whose answers are ready, are let go to the moment in which the
last of them is called with the next model. Most of it is waiting: a SuperNode asks for work every 3 s, the ServerApp
asks for answers every 3 s, a SuperExec asks for tasks every second, and each message gets a Python process of its own.
The first model that everybody gets warms the SuperLink up.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from benchmarks.measuring import OURS, SERVERS, Row
from benchmarks.plan import Plan, say, take_turns
from benchmarks.processes import (
    FLOWER_VERSION,
    PEERS,
    PeerMissing,
    Server,
    disco,
    end,
    process,
    tools,
    wait_for_port,
)
from benchmarks.rounds import FLOWER_GOAL, Rounds, size

GROUP = "superlink"
PEER = "superlink"
APP = PEERS / "flower" / "superlink"
#: Participants × parameters, in an order in which SuperNodes are only ever added.
CELLS = ((2, 10_000), (2, 1_000_000), (8, 10_000), (8, 1_000_000), (8, 10_000_000), (32, 10_000))
ROUNDS = 3
#: The group is to end within this time.
SECONDS = 180.0
#: What a cell spends waiting, and what one core spends on each SuperNode and its ClientApps.
CELL_SECONDS, NODE_SECONDS = 20.0, 7.0
#: The longest round that was seen took 34 s, with 32 SuperNodes on two busy cores.
PATIENCE_SECONDS = 60.0
#: What SuperLink, SuperExec and ServerApp take, and what each SuperNode takes with its SuperExec and its ClientApp.
LINK_BYTES, NODE_BYTES = 350_000_000, 310_000_000
#: What one parameter of one participant takes at the peak of a round.
BYTES_A_VALUE = 36
#: Flower's programs, which start each other by name, and what the scripts of its package call.
PROGRAMS = {
    "flower-superlink": ("flwr.superlink.cli", "flower_superlink"),
    "flower-superexec": ("flwr.supercore.cli", "flower_superexec"),
    "flower-supernode": ("flwr.supernode.cli", "flower_supernode"),
    "flwr-serverapp": ("flwr.superlink.cli", "flwr_serverapp"),
    "flwr-clientapp": ("flwr.supernode.cli", "flwr_clientapp"),
}


class Harness:
    """Where ClientApps wait until they may answer: each connects when it is called, and goes when it is cut off."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listening.settimeout(PATIENCE_SECONDS)
        self._waiting: list[socket.socket] = []
        self.port: int = self._listening.getsockname()[1]

    def gather(self, participants: int) -> None:
        """Wait until so many ClientApps are called.

        Raises:
            PeerMissing: they are not called in time.
        """
        try:
            while len(self._waiting) < participants:
                self._waiting.append(self._listening.accept()[0])
        except TimeoutError:
            called = f"{len(self._waiting)} of {participants} ClientApps were called"
            raise PeerMissing(f"only {called} within {PATIENCE_SECONDS:g} s") from None

    def let_go(self) -> None:
        """Let everybody answer."""
        while self._waiting:
            self._waiting.pop().close()

    def close(self) -> None:
        """Call it a day."""
        self.let_go()
        self._listening.close()


class SuperLink:
    """A SuperLink, its SuperNodes, and one run after the other. What was missing once stays missing."""

    def __init__(self) -> None:
        """Start nothing: the first run does, after `install`."""
        self._stack = ExitStack()
        self._groups: list[int] = []
        self._missing = ""
        self._nodes = 0
        self._participants = 0
        self._python = ""

    def install(self) -> None:
        """Install Flower where that is needed."""
        with suppress(PeerMissing), self._remembering():
            self._python = str(tools("flwr", FLOWER_VERSION) / "python")

    def run(self, participants: int, parameters: int, rounds: int) -> None:
        """Let the last run have its end, begin another, and wait until everybody has the first model.

        Raises:
            PeerMissing: Flower cannot be had, or does not get that far.
        """
        with self._remembering():
            if not self._groups:
                self._start()
            self._add_nodes(participants)
            self._participants = participants
            self._harness.let_go()
            cell = f"num-server-rounds={rounds + 1} participants={participants} parameters={parameters}"
            self._flwr("run", str(APP), "local", "--run-config", f"{cell} harness={self._harness.port}")
            self._harness.gather(participants)

    def one(self) -> float:
        """Run the next round; returns its seconds.

        Raises:
            PeerMissing: it does not end in time.
        """
        with self._remembering():
            start = time.perf_counter()
            self._harness.let_go()
            self._harness.gather(self._participants)
            return time.perf_counter() - start

    def close(self) -> None:
        """End everything that was started, all at once."""
        for group in self._groups:
            end(group, signal.SIGTERM)
        self._stack.close()

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        if self._missing:
            raise PeerMissing(self._missing)
        try:
            yield
        except PeerMissing as error:
            self._missing = str(error)
            raise

    def _start(self) -> None:
        """Start the SuperLink, and beside it what starts ServerApps.

        The SuperLink would start a SuperExec itself, but in a session of its own, which might outlive it.
        """
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="superlink-")))
        self._harness = Harness()
        self._stack.callback(self._harness.close)
        (self._folder / "bin").mkdir()
        for name, (module, function) in PROGRAMS.items():
            script = self._folder / "bin" / name
            command = shlex.join(self._command(module, function))
            script.write_text(f'#!/bin/sh\nexec {command} "$@" >/dev/null 2>&1\n')
            script.chmod(0o755)
        [port] = free_ports(1)
        self._address = f"127.0.0.1:{port}"
        where = ["--host", "127.0.0.1", "--port", str(port)]
        self._launch("link", ["flower-superlink", "--insecure", *where, "--isolation", "process"])
        wait_for_port(port)
        self._launch("link", ["flower-superexec", "--insecure", "--runtime-api-address", self._address])
        connection = f'[superlink]\n[superlink.local]\naddress = "{self._address}"\ninsecure = true\n'
        (self._folder / "link" / "config.toml").write_text(connection)

    def _add_nodes(self, participants: int) -> None:
        """Start SuperNodes until there are enough; each has a home of its own."""
        ports = free_ports(participants - self._nodes)
        for port in ports:
            where = ["--superlink", self._address, "--host", "127.0.0.1", "--port", str(port)]
            self._launch(f"node{self._nodes}", ["flower-supernode", "--insecure", *where])
            self._nodes += 1
        for port in ports:
            wait_for_port(port)

    def _launch(self, home: str, command: list[str]) -> None:
        """Start one of Flower's programs."""
        program = [str(self._folder / "bin" / command[0]), *command[1:]]
        running = process(program, self._folder, self._environment(home))
        self._groups.append(self._stack.enter_context(running).pid)

    def _flwr(self, *arguments: str) -> None:
        """Have `flwr` do something.

        Raises:
            PeerMissing: it fails, or hangs.
        """
        command = [*self._command("flwr.cli.app", "app"), *arguments]
        environ = {**os.environ, **self._environment("link")}
        try:
            done = subprocess.run(
                command, cwd=self._folder, env=environ, capture_output=True, text=True, check=False,
                timeout=PATIENCE_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise PeerMissing(f"flwr {arguments[0]} hangs") from None
        if done.returncode:
            said = (done.stdout + done.stderr).strip().splitlines() or ["nothing"]
            raise PeerMissing(f"flwr {arguments[0]} says: {said[-1]}")

    def _command(self, module: str, function: str) -> list[str]:
        """Return the command that calls a function of Flower's, as the scripts of its package do."""
        return [self._python, "-c", f"from {module} import {function}; {function}()"]

    def _environment(self, home: str) -> dict[str, str]:
        """Return what keeps Flower inside its folder and off the network."""
        folder = self._folder / home
        folder.mkdir(exist_ok=True)
        return {
            "PATH": f"{self._folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "FLWR_HOME": str(folder),
            "TMPDIR": str(folder),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
        }


def free_ports(count: int) -> list[int]:
    """Return TCP ports that were free a moment ago, no two of them the same."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def must_fit(participants: int, parameters: int, left_seconds: float) -> None:
    """See that a cell of the SuperLink fits into memory and into what is left of the group's time.

    Raises:
        PeerMissing: it does not.
    """
    needed = LINK_BYTES + participants * (NODE_BYTES + parameters * BYTES_A_VALUE)
    if needed > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise PeerMissing(f"its processes take {needed / 1e9:.0f} GB there")
    seconds = CELL_SECONDS + NODE_SECONDS * participants / (os.cpu_count() or 1)
    if seconds > left_seconds:
        raise PeerMissing(f"it takes {seconds:.0f} s there, and the group is to end within {SECONDS:g} s")


def measure(plan: Plan) -> Iterator[Row]:
    """Measure every cell on both."""
    with ExitStack() as stack:
        server = stack.enter_context(disco())
        link = stack.enter_context(closing(SuperLink()))
        link.install()
        until = time.monotonic() + SECONDS
        for participants, parameters in CELLS:
            if not plan.quick or (participants == 2 and parameters <= 1_000_000):
                yield cell(plan, server, link, participants, parameters, until - time.monotonic())


def cell(
    plan: Plan, server: Server, link: SuperLink, participants: int, parameters: int, left_seconds: float
) -> Row:
    """Measure one cell; Disco alone where the SuperLink cannot be measured."""
    count = plan.repeats(ROUNDS)
    notes: dict[str, str] = {}
    with closing(Rounds(server, participants, parameters)) as rounds:
        rounds.one()
        try:
            must_fit(participants, parameters, left_seconds)
            link.run(participants, parameters, count)
            seconds = take_turns({OURS: rounds.one, PEER: link.one}, count)
        except PeerMissing as error:
            notes[PEER] = str(error)
            say(f"{SERVERS[PEER]} is left out: {error}")
            seconds = take_turns({OURS: rounds.one}, count)
    return Row(
        GROUP,
        f"{participants} × {size(parameters)} parameters, SuperLink",
        "ms",
        {name: [1e3 * each for each in taken] for name, taken in seconds.items()},
        goals={} if PEER in notes else {PEER: FLOWER_GOAL},
        notes=notes,
    )
