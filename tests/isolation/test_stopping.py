"""Stopping: everybody is told, what is being written is finished, and nobody can hold it up."""

from __future__ import annotations

import base64
import json
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from disco.core.names import TaskID
from disco.storage.reader import open_reader
from disco.storage.sqlite import SqliteStore
from tests.conftest import ServerFactory
from tests.test_launch import PATIENCE, launched
from tests.web.clients import integers, post, v2
from tests.web.test_federated_sockets import update
from tests.web.test_tasks import task

#: More than the operating system takes off a server's hands for a reader that reads nothing.
PARAMETERS = 6_000_000
UPGRADE = (
    b"GET /federated/tiny HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
#: A close frame (RFC 6455, section 5.5.1): its code, 1001, and its reason.
FAREWELL = b"\x88\x18\x03\xe9the server is stopping"


def post_large_task(url: str) -> None:
    layer = {"name": "d", "units": PARAMETERS, "batch_input_shape": [None, 1], "use_bias": False}
    layers = [{"class_name": "Dense", "config": layer}]
    model = {
        "format": "layers-model",
        "modelTopology": {"class_name": "Sequential", "config": {"name": "s", "layers": layers}},
        "weightsManifest": [
            {
                "paths": ["weights.bin"],
                "weights": [{"name": "d/kernel", "shape": [1, PARAMETERS], "dtype": "float32"}],
            }
        ],
    }
    weights = base64.b64encode(bytes(4 * PARAMETERS)).decode()
    body = json.dumps({"task": task("large"), "model": model, "weights": weights}).encode()
    request = urllib.request.Request(f"{url}/tasks", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert answer.status == 201


@contextmanager
def asking(url: str, request: bytes) -> Iterator[socket.socket]:
    """Send a request, and read no more of the answer than its beginning."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), PATIENCE) as connection:
        connection.sendall(request)
        assert connection.recv(12).startswith(b"HTTP/1.1 ")
        yield connection


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "seconds"),
    [(("disco", "serve", "--port", "0"), 2.0), (("hypercorn", "disco.app:app", "-b", "127.0.0.1:0"), 5.0)],
    ids=["disco serve", "hypercorn"],
)
def test_sigterm_is_told_to_everybody_and_obeyed_although_a_reader_reads_nothing(
    tmp_path: Path, command: tuple[str, ...], seconds: float
) -> None:
    with launched(*command, data=tmp_path / "data", DISCO_GRACEFUL="2") as (process, url):
        post_large_task(url)
        stuck = b"GET /tasks/large/weights.bin HTTP/1.1\r\nHost: x\r\n\r\n"
        with asking(url, stuck), asking(url, UPGRADE) as silent:
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
            assert time.monotonic() - began < seconds + 3, "the setting, and what a busy machine takes"
            received = b""
            while not received.endswith(FAREWELL):
                received += silent.recv(4096)


async def test_a_round_that_is_being_written_is_finished(
    start: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()
    save_round = SqliteStore.save_round

    def slowly(*args: Any) -> None:
        writing.set()
        go_on.wait(PATIENCE)
        save_round(*args)

    async with start() as server:
        data_dir = server.settings.data_dir
        async with v2(server.ws) as one, v2(server.ws) as two:
            await post(one, update(1), 0)
            monkeypatch.setattr(SqliteStore, "save_round", slowly)
            await two.say(type=8, weights=integers(update(2)), round=0)
            assert await trio.to_thread.run_sync(writing.wait, PATIENCE)
            threading.Timer(0.2, go_on.set).start()
    with closing(open_reader(data_dir)) as reader:
        assert reader.latest_round(TaskID("tiny")).number == 1
