"""A page in a real Chromium trains with TensorFlow.js beside a Python participant."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

from disco.participant import Participant
from tests.conftest import Server, ServerFactory
from tests.interop.strict.driver import arrays

pytestmark = [pytest.mark.interop, pytest.mark.slow]

HERE = Path(__file__).parent
TASKS = HERE.parents[2] / "tasks"
Floats = NDArray[np.float32]

#: Seconds that the browser may take to start, load, and train two rounds; it takes about three.
PATIENCE = 60.0
ROUNDS = 2
LEARNING_RATE = 0.01
#: A browser for one page, which calls nobody and draws nothing.
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; skips where there is none, except in CI."""
    for name in (os.environ.get("DISCO_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"):
        if name and (path := shutil.which(name)):
            return path
    why = "no Chromium is here, so the browser test did not run: scripts/browser installs one"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


class Site:
    """Serves the page, its job and its libraries, and takes its reports."""

    def __init__(self, files: Mapping[str, tuple[Path, str]]) -> None:
        self.job: Mapping[str, Any] = {}
        self._files = files
        self._reports, self._reported = trio.open_memory_channel[dict[str, Any]](math.inf)
        self._token = trio.lowlevel.current_trio_token()

    async def heard(self, event: str) -> dict[str, Any]:
        """Return the page's next report, which must be of this kind."""
        with trio.fail_after(PATIENCE):
            report = await self._reported.receive()
        assert report["event"] == event, report
        return report

    def answer(self, path: str) -> tuple[bytes, str] | None:
        """Return what is at a path, and its content type."""
        if path == "/job.json":
            return json.dumps(self.job).encode(), "application/json"
        if path not in self._files:
            return None
        file, kind = self._files[path]
        return file.read_bytes(), kind

    def take(self, report: dict[str, Any]) -> None:
        """Take a report, from any thread."""
        self._token.run_sync_soon(self._reports.send_nowait, report)


class Handler(BaseHTTPRequestHandler):
    """Answers for a `Site`."""

    def __init__(self, site: Site, *arguments: Any) -> None:
        self._site = site
        super().__init__(*arguments)

    def do_GET(self) -> None:
        found = self._site.answer(self.path)
        self.send_response(200 if found else 404)
        body, kind = found or (b"", "text/plain")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self._site.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # the parent names it so
        """Say nothing."""


@pytest.fixture
async def site(interop_kit: Path) -> Any:
    """The page's site, on a port of its own, so that all it gets from the server crosses origins."""
    packages = interop_kit / "node_modules"
    script = "text/javascript"
    return Site(
        {
            "/": (HERE / "index.html", "text/html"),
            "/train.js": (HERE / "train.js", script),
            "/tf.js": (packages / "@tensorflow" / "tfjs-node" / "dist" / "tf.min.js", script),
            "/msgpack.js": (packages / "@msgpack" / "msgpack" / "dist.umd" / "msgpack.min.js", script),
        }
    )


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    """Where the site is."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, site)) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()
        thread.join()


async def browse(chromium: str, profile: Path, url: str) -> None:
    """Show a page until cancelled."""
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", url]
    environment = {**os.environ, "HOME": str(profile)}
    await trio.run_process(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, check=False
    )
    raise AssertionError("the browser ended")


def descend(weights: Sequence[Floats], x: Floats, y: Floats, steps: int = 20) -> list[Floats]:
    """Train the task's three dense layers by gradient descent on the cross-entropy."""
    w1, b1, w2, b2, w3, b3 = (np.array(tensor, np.float64) for tensor in weights)
    for _ in range(steps):
        h1 = np.maximum(x @ w1 + b1, 0)
        h2 = np.maximum(h1 @ w2 + b2, 0)
        d3 = (1 / (1 + np.exp(-(h2 @ w3 + b3))) - y) / len(x)
        d2 = (d3 @ w3.T) * (h2 > 0)
        d1 = (d2 @ w2.T) * (h1 > 0)
        for tensor, gradient in zip(
            (w1, b1, w2, b2, w3, b3),
            (x.T @ d1, d1.sum(0), h1.T @ d2, d2.sum(0), h2.T @ d3, d3.sum(0)),
            strict=True,
        ):
            tensor -= 0.5 * gradient
    return [tensor.astype(np.float32) for tensor in (w1, b1, w2, b2, w3, b3)]


def current(server: Server) -> list[Floats]:
    """The server's global model."""
    session = server.app.directory.get("breast_cancer").session
    assert session is not None
    return session.weights.arrays()


async def test_a_page_trains_two_rounds_beside_a_python_participant(
    start: ServerFactory, site: Site, address: str, chromium: str, tmp_path: Path
) -> None:
    features, labels = load_breast_cancer(return_X_y=True)
    x = ((features - features.mean(0)) / features.std(0)).astype(np.float32)
    y = labels.astype(np.float32).reshape(-1, 1)
    async with start(tasks_dir=TASKS) as server, trio.open_nursery() as nursery:
        site.job = {
            "server": server.url, "task": "breast_cancer", "rows": x[::2].tolist(), "labels": y[::2, 0].tolist(),
            "learningRate": LEARNING_RATE, "rounds": ROUNDS, "epochs": 2,
        }  # fmt: skip
        initial = current(server)
        nursery.start_soon(browse, chromium, tmp_path / "profile", address)
        joined = await site.heard("joined")
        assert joined["round"] == 0
        assert all(map(np.array_equal, arrays(joined["weights"]), initial)), "loaded over CORS, bit for bit"
        losses = [joined["loss"]]
        async with Participant(server.url, "breast_cancer") as python:
            for number in range(1, ROUNDS + 1):
                own = descend(python.weights, x[1::2], y[1::2])
                got = await python.exchange(own)
                told = await site.heard("round")
                assert (told["round"], python.round) == (number, number)
                losses.append(told["loss"])
                for place, tensor in enumerate(current(server)):
                    sent = np.stack([own[place], arrays(told["sent"])[place]]).astype(np.float64)
                    np.testing.assert_array_max_ulp(tensor, sent.mean(0).astype(np.float32), maxulp=1)
                    assert np.array_equal(tensor, arrays(told["weights"])[place])
                    assert np.array_equal(tensor, got[place])
        await site.heard("done")
        nursery.cancel_scope.cancel()
    assert losses == sorted(losses, reverse=True), losses
    assert losses[-1] < losses[0] / 2
