from __future__ import annotations

import http.server
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from disco.cli import main
from disco.settings import bundled_tasks
from tests.conftest import Server

TITANIC = bundled_tasks() / "titanic"


def disco(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["tasks", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two task folders, one of them broken."""
    shutil.copytree(TITANIC, tmp_path / "tasks" / "titanic")
    shutil.copytree(TITANIC, tmp_path / "tasks" / "sunk")
    return tmp_path / "tasks"


def test_the_tasks_of_a_folder_are_listed_and_the_broken_ones_told(folder: Path) -> None:
    listed = disco("list", "--folder", folder)
    assert listed.exit_code == 0
    assert [line.split("\t")[:2] for line in listed.stdout.splitlines()] == [
        ["ID", "title"],
        ["titanic", "Titanic"],
    ]
    assert "sunk is left out: task.toml.taskID is titanic" in listed.stderr


def test_a_task_of_a_folder_is_shown_with_the_size_of_its_model(folder: Path) -> None:
    facts = dict(
        line.split("\t") for line in disco("show", "titanic", "--folder", folder).stdout.splitlines()
    )
    assert (facts["ID"], facts["data type"], facts["parameters"]) == ("titanic", "tabular", "10981")


def test_an_unknown_task_of_a_folder_is_told(folder: Path) -> None:
    refused = disco("show", "nobody", "--folder", folder)
    assert refused.exit_code == 1
    assert "There is no task nobody" in refused.stderr


@pytest.mark.parametrize("where", ["titanic", "."])
def test_a_check_passes_a_task_folder_and_a_folder_of_them(folder: Path, where: str) -> None:
    shutil.rmtree(folder / "sunk")
    checked = disco("check", folder / where)
    assert (checked.exit_code, checked.stdout) == (0, "titanic: in order; 10981 parameters in 8 tensors\n")


def test_a_check_tells_every_problem_and_fails(folder: Path) -> None:
    document = (folder / "sunk/task.toml").read_text().replace("epochs = ", "epochs = -")
    (folder / "sunk/task.toml").write_text(document)
    (folder / "sunk/weights.bin").write_bytes(b"short")
    checked = disco("check", folder)
    assert checked.exit_code == 1
    assert "sunk: " in checked.stderr
    assert "epochs" in checked.stderr
    assert "weight" in checked.stderr
    assert "titanic: in order" in checked.stdout


def test_a_check_as_json_names_folders_and_problems(folder: Path) -> None:
    checked = json.loads(disco("check", folder, "--json").stdout)
    assert checked["tasks"] == ["titanic"]
    assert [entry["folder"] for entry in checked["broken"]] == ["sunk"]


def test_a_folder_without_tasks_is_told(tmp_path: Path) -> None:
    refused = disco("check", tmp_path)
    assert refused.exit_code == 1
    assert "one has task.toml, model.json and weights.bin" in refused.stderr


def test_a_task_is_added_to_a_folder_whole(tmp_path: Path) -> None:
    target = tmp_path / "served"
    target.mkdir()
    added = disco("add", TITANIC, "--folder", target)
    assert added.stdout == f"{target}/titanic\n"
    assert disco("check", target).exit_code == 0
    assert [found.name for found in target.iterdir()] == ["titanic"]


def test_a_task_that_a_folder_has_is_not_added_again(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    refused = disco("add", TITANIC, "--folder", folder)
    assert refused.exit_code == 1
    assert "exists already" in refused.stderr
    assert sorted(folder.rglob("*")) == before


def test_nothing_is_added_when_one_of_the_tasks_is_broken(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "served"
    target.mkdir()
    assert disco("add", folder, "--folder", target).exit_code == 1
    assert list(target.iterdir()) == []


def test_a_server_and_a_folder_exclude_each_other(folder: Path) -> None:
    refused = disco("list", "--folder", folder, "--server", "http://127.0.0.1:1")
    assert refused.exit_code == 2
    assert "exclude each other" in refused.stderr


@pytest.mark.parametrize("address", ["localhost:8080", "file:///etc/passwd"])
def test_what_is_no_address_is_told(address: str) -> None:
    refused = disco("list", "--server", address)
    assert refused.exit_code == 2
    assert "--server must be an address such as" in refused.stderr


async def test_a_task_added_to_a_running_server_is_listed_and_shown_by_it(server: Server) -> None:
    async def on_server(*arguments: object) -> Result:
        return await trio.to_thread.run_sync(lambda: disco(*arguments, "--server", server.url))

    added = await on_server("add", TITANIC)
    assert added.stdout == f"{server.url}/tasks/titanic\n"
    listed = json.loads((await on_server("list", "--json")).stdout)
    assert "titanic" in [document["taskID"] for document in listed]
    shown = dict(line.split("\t") for line in (await on_server("show", "titanic")).stdout.splitlines())
    assert shown["parameters"] == "10981"


async def test_a_servers_refusal_is_told_in_its_words(server: Server) -> None:
    def add() -> Result:
        return disco("add", TITANIC, "--server", server.url)

    await trio.to_thread.run_sync(add)
    refused = await trio.to_thread.run_sync(add)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "titanic" in refused.stderr


def test_no_server_is_told_with_what_to_do() -> None:
    with closed_port() as url:
        refused = disco("list", "--server", url)
    assert refused.exit_code == 1
    assert "start one with `disco serve` or name another with --server" in refused.stderr


def test_every_problem_that_a_server_finds_has_a_line() -> None:
    fields = [{"path": "task.a", "problem": "is missing"}, {"path": "task.b", "problem": "must be text"}]
    with answering(422, json.dumps({"error": "the task is invalid", "fields": fields}).encode()) as url:
        refused = disco("add", TITANIC, "--server", url)
    assert refused.stderr == "Error: the task is invalid\n  task.a is missing\n  task.b must be text\n"


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (502, b"<h1>Bad gateway</h1>", "answered 502"),
        (500, b"[]", "answered 500"),
        (200, b"<h1>Welcome to nginx!</h1>", "did not answer with JSON"),
        (200, b"{}", "did not answer with a list of tasks"),
    ],
)
def test_an_answer_that_is_not_discos_is_told(status: int, body: bytes, sentence: str) -> None:
    with answering(status, body) as url:
        refused = disco("list", "--server", url)
    assert refused.exit_code == 1
    assert sentence in refused.stderr


@pytest.mark.parametrize("document", [None, [], {}, {"id": 7, "trainingInformation": []}])
def test_a_list_of_odd_tasks_is_shown_as_far_as_it_can_be_read(document: object) -> None:
    with answering(200, json.dumps([document]).encode()) as url:
        listed = disco("list", "--server", url)
    assert (listed.exit_code, len(listed.stdout.splitlines())) == (0, 2)


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Run an HTTP server that gives every request the same answer, for the length of a block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name that the library calls
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        serving = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        serving.join()


@contextmanager
def closed_port() -> Iterator[str]:
    """Hold a port on which nobody listens, for the length of a block."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
