from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from disco.cli import main
from disco.cli.findings import Finding, Health
from disco.cli.machine_checks import (
    check_descriptors,
    check_directory,
    check_holder,
    check_memory,
    check_port,
    check_tasks,
    file_system,
)
from disco.cli.server_checks import check_clock, check_version, check_websocket, socket_path
from disco.participant.address import Address
from disco.settings import Limits, Settings
from disco.storage.lock import DirectoryLock
from tests.conftest import Server, ServerFactory


def doctor(tmp_path: Path, *arguments: str) -> Result:
    arguments = ("doctor", "--port", "0", "--data-dir", str(tmp_path / "data"), *arguments)
    return CliRunner().invoke(main, list(arguments))


async def ask(tmp_path: Path, *arguments: str) -> Result:
    """Run the command in a thread, beside the server under test."""
    return await trio.to_thread.run_sync(partial(doctor, tmp_path, *arguments))


def test_a_machine_in_order_exits_with_0(tmp_path: Path) -> None:
    checked = doctor(tmp_path)
    assert checked.exit_code == 0, checked.output
    assert checked.output.startswith("ok       versions")


def test_json_has_every_finding(tmp_path: Path) -> None:
    report = json.loads(doctor(tmp_path, "--json").stdout)
    assert report["ok"]
    assert {"versions", "open files", "memory", "data directory", "port", "tasks"} <= {
        finding["check"] for finding in report["findings"]
    }


def test_something_wrong_exits_with_1_and_says_what_to_change(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no directory")
    checked = doctor(tmp_path)
    assert checked.exit_code == 1
    assert "is not a directory\n" + " " * 24 + " → choose another with --data-dir" in checked.output


def test_a_setting_that_cannot_be_used_exits_with_2(tmp_path: Path) -> None:
    assert doctor(tmp_path, "--port", "many").exit_code == 2


def test_a_port_held_by_another_program_is_wrong(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        found = check_port(Settings(port=held.getsockname()[1]))
    assert found.health is Health.WRONG
    assert "not Disco" in found.detail


async def test_a_port_held_by_disco_is_fine(server: Server) -> None:
    port = int(server.url.rpartition(":")[2])
    found = await trio.to_thread.run_sync(check_port, Settings(port=port))
    assert found.health is Health.OK
    assert "held by a Disco server" in found.detail


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    assert check_port(Settings(host="192.0.2.1")).health is Health.WRONG


def test_who_holds_the_data_directory_is_named(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    try:
        assert "held by process" in check_holder(Settings(data_dir=tmp_path)).detail
    finally:
        lock.release()


def test_a_data_directory_need_not_exist_yet(tmp_path: Path) -> None:
    found = check_directory(Settings(data_dir=tmp_path / "not" / "yet"))
    assert found.health is not Health.WRONG
    assert "it will be made" in found.detail
    assert not (tmp_path / "not").exists()


def test_updates_beyond_the_memory_are_wrong() -> None:
    assert check_memory(Settings(limits=Limits(bytes_in_flight=1 << 60))).health is Health.WRONG


@pytest.mark.parametrize(
    ("limit", "health"), [(64, Health.WRONG), (1024, Health.WARNING), (65536, Health.OK)]
)
def test_open_files_are_compared_with_what_participants_need(
    monkeypatch: pytest.MonkeyPatch, limit: int, health: Health
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (limit, 65536))
    assert check_descriptors(Settings()).health is health


def test_a_broken_task_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "sunk").mkdir()
    (tmp_path / "sunk" / "task.toml").write_text("")
    found = check_tasks(Settings(tasks_dir=tmp_path))
    assert found.health is Health.WRONG
    assert "sunk" in found.detail


def test_the_file_system_is_that_of_the_deepest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/a / ext4 rw 0 0\nserver:/x /srv/with\\040space nfs4 rw 0 0\n/dev/b /srv xfs rw 0 0\n"
    )
    assert file_system(Path("/srv/with space/data"), mounts) == "nfs4"
    assert file_system(Path("/srv/other"), mounts) == "xfs"
    assert file_system(Path("/home"), mounts) == "ext4"


@pytest.mark.parametrize(("seconds", "health"), [(0, Health.OK), (-10, Health.WARNING), (600, Health.WRONG)])
def test_a_clock_that_differs_is_told(seconds: float, health: Health) -> None:
    now = time.time()
    assert check_clock(formatdate(now + seconds, usegmt=True), now).health is health


def test_a_proxy_that_drops_the_date_is_told() -> None:
    assert check_clock(None, 0.0).health is Health.WARNING


def test_another_version_is_a_warning() -> None:
    assert check_version("0.0.1").health is Health.WARNING


@pytest.mark.parametrize(
    ("task", "path"),
    [
        ({"id": "a"}, "federated/a"),
        ({"id": "a", "session": {"schemes": ["decentralized"]}}, "decentralized/a"),
    ],
)
def test_a_websocket_is_opened_in_a_scheme_that_is_open(task: dict[str, object], path: str) -> None:
    assert socket_path(task) == path


async def test_a_running_server_is_found_in_order(server: Server, tmp_path: Path) -> None:
    checked = await ask(tmp_path, "--server", server.url)
    assert checked.exit_code == 0, checked.output
    assert "/federated/tiny opens, and answers a ping" in checked.output


async def test_the_probe_is_no_participant(start: ServerFactory, tmp_path: Path) -> None:
    async with start() as server:
        await ask(tmp_path, "--server", server.url)
        session = server.app.directory.get("tiny").session
        assert session is not None
        assert not session.present


async def test_a_server_that_is_not_there_is_wrong(tmp_path: Path) -> None:
    checked = await ask(tmp_path, "--server", "http://127.0.0.1:1")
    assert checked.exit_code == 1
    assert "does not answer" in checked.output


#: What proxies that do not pass the upgrade on make of it.
BAD_PROXIES: dict[str, bytes] = {
    "a page": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "an error": b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n",
    "nothing": b"",
    "no HTTP": b"\x00\x01\x02\x03\r\n\r\n",
    "a wrong key": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
}


@pytest.mark.parametrize("answer", BAD_PROXIES.values(), ids=list(BAD_PROXIES))
async def test_a_proxy_that_does_not_upgrade_is_wrong_and_the_cure_is_told(answer: bytes) -> None:
    found = await behind(lambda _: answer)
    assert found.health is Health.WRONG
    assert "proxy_set_header Upgrade" in found.advice


async def behind(answer: Callable[[bytes], bytes]) -> Finding:
    """Check a WebSocket against a program that answers whatever comes with a fixed reply."""

    async def reply(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(answer(await stream.receive_some()))

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, reply, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        found = await check_websocket(Address.parse(f"http://127.0.0.1:{port}"), "/federated/tiny")
        nursery.cancel_scope.cancel()
    return found
