"""Every way to start the server, as its users type it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATIENCE = 30.0


def environment(data: Path, **more: str) -> dict[str, str]:
    tasks = str(ROOT / "tests" / "tasks")
    return {**os.environ, "DISCO_DATA_DIR": str(data), "DISCO_TASKS_DIR": tasks, **more}


@contextmanager
def launched(*command: str, data: Path, **more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a command until it says where it listens; yields the process and the URL."""
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT, env=environment(data, **more), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield process, found[0]
                    break
            else:
                pytest.fail("it did not start: " + "".join(said))
        finally:
            process.terminate()
            process.wait(PATIENCE)


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return bytes(answer.read())


@pytest.mark.parametrize(
    "command",
    [
        ("hypercorn", "disco.app:app", "-b", "127.0.0.1:0"),
        ("hypercorn", "-k", "trio", "disco.app:app", "-b", "127.0.0.1:0"),
        ("disco", "serve", "--port", "0"),
    ],
    ids=["hypercorn as it is", "hypercorn -k trio", "disco serve"],
)
def test_the_server_starts_answers_and_stops_on_sigterm(command: tuple[str, ...], tmp_path: Path) -> None:
    with launched(*command, data=tmp_path / "data") as (process, url):
        assert b'"tiny"' in get(url + "/tasks")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    "command",
    [("hypercorn", "disco.app:app", "-b", "127.0.0.1:0"), ("disco", "serve", "--port", "0")],
    ids=["hypercorn", "disco serve"],
)
def test_a_second_process_on_one_data_directory_says_who_holds_it(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    with launched("disco", "serve", "--port", "0", data=tmp_path / "data") as (process, _):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT, env=environment(tmp_path / "data"), text=True, capture_output=True, timeout=PATIENCE,
            check=False,
        )  # fmt: skip
    assert f"in use by process {process.pid}" in done.stderr + done.stdout


def test_two_workers_refuse_to_share_a_data_directory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hypercorn", "-w", "2", "disco.app:app", "-b", "127.0.0.1:0"],
        cwd=ROOT, env=environment(tmp_path / "data"), text=True, capture_output=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert re.search(r"in use by process \d+", done.stderr + done.stdout)


def test_a_data_directory_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no directory")
    done = subprocess.run(
        [sys.executable, "-m", "disco", "serve", "--port", "0"],
        cwd=ROOT, env=environment(tmp_path / "data"), text=True, capture_output=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"Error: {tmp_path / 'data'}")
    assert "Traceback" not in done.stderr


def test_open_lets_whoever_comes_by_a_proxy_manage(tmp_path: Path) -> None:
    with launched("disco", "serve", "--port", "0", "--open", data=tmp_path / "data") as (_, url):
        asked = urllib.request.Request(f"{url}/tasks/tiny/pause", method="POST", headers={"Via": "1.1 proxy"})
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            assert answer.status in (200, 204)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--port", "many"), "--port must be a whole number, not 'many'"),
        (("--port", "99999"), "--port must be a TCP port from 0 to 65535, not 99999"),
        (("--log-level", "loud"), "--log-level must be one of debug, info"),
        (("--aggregation-interval", "-1"), "--aggregation-interval must be above 0"),
        (("--host", "256.1.1.1"), "cannot listen on 256.1.1.1"),
        (("--config", "none.toml"), "none.toml cannot be read"),
        (("--task", "nowhere.at:All"), "nowhere"),
    ],
)
def test_a_bad_value_is_one_sentence_and_exit_2(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "disco", "serve", *arguments],
        cwd=tmp_path, env=environment(tmp_path / "data", PYTHONPATH=str(ROOT)), text=True, capture_output=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    with launched("disco", "serve", "--port", "0", data=tmp_path / "one") as (_, url):
        done = subprocess.run(
            [sys.executable, "-m", "disco", "serve", "--port", url.rpartition(":")[2]],
            cwd=ROOT, env=environment(tmp_path / "two"), text=True, capture_output=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert "it is in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_sigterm_is_obeyed_within_the_setting_while_a_client_reads_nothing(tmp_path: Path) -> None:
    with launched("disco", "serve", "--port", "0", data=tmp_path / "data", DISCO_GRACEFUL="2") as (
        process,
        url,
    ):
        import socket

        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as silent:
            silent.sendall(
                b"GET /federated/tiny HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            silent.settimeout(PATIENCE)
            assert b"101" in silent.recv(1000)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
            assert time.monotonic() - began < 2 + 3, (
                "the setting, and what starting a shell takes on a busy machine"
            )
