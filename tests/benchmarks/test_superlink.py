"""The SuperLink's rounds: what is left out, and how long one is. Nothing of Flower's is started."""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Iterator

import pytest

from benchmarks import superlink
from benchmarks.__main__ import CELLS
from benchmarks.measuring import OURS, SERVERS, Row
from benchmarks.plan import Plan
from benchmarks.processes import FLOWER_VERSION, PeerMissing, Server


class FakeRounds:
    """Disco's session, which takes no time."""

    def __init__(self, server: Server, participants: int, parameters: int) -> None:
        pass

    def one(self) -> float:
        return 0.002

    def close(self) -> None:
        pass


class FakeLink(superlink.SuperLink):
    """A SuperLink that has its first rounds, and no more."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.left = rounds

    def run(self, participants: int, parameters: int, rounds: int) -> None:
        pass

    def one(self) -> float:
        self.left -= 1
        if self.left < 0:
            raise PeerMissing("it hangs")
        return 5.0


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores and 24 GB."""
    sizes = {"SC_PHYS_PAGES": 24 * 10**6, "SC_PAGE_SIZE": 1000}
    monkeypatch.setattr("os.sysconf", sizes.__getitem__)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(superlink, "Rounds", FakeRounds)


@pytest.fixture
def harness() -> Iterator[superlink.Harness]:
    found = superlink.Harness()
    yield found
    found.close()


def cell(link: superlink.SuperLink) -> Row:
    return superlink.cell(Plan(), Server("disco", 0, None), link, 2, 10_000, superlink.SECONDS)


def test_the_group_and_its_peer_are_known_to_the_report() -> None:
    assert CELLS[superlink.GROUP] is superlink.measure
    assert superlink.PEER in SERVERS


def test_supernodes_are_only_ever_added() -> None:
    participants = [k for k, _ in superlink.CELLS]
    assert participants == sorted(participants)


def test_the_app_asks_for_the_flower_that_is_installed() -> None:
    project = tomllib.loads((superlink.APP / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["dependencies"] == [f"flwr=={FLOWER_VERSION}"]
    for reference in project["tool"]["flwr"]["app"]["components"].values():
        module, _, _ = reference.partition(":")
        assert (superlink.APP / f"{module.replace('.', '/')}.py").is_file()


def test_the_goal_is_set_where_the_superlink_was_measured() -> None:
    row = cell(FakeLink(rounds=superlink.ROUNDS))
    assert row.samples == {OURS: [2.0] * superlink.ROUNDS, superlink.PEER: [5000.0] * superlink.ROUNDS}
    assert row.goals == {superlink.PEER: 5.0}
    assert not row.notes


def test_disco_is_measured_alone_once_the_superlink_hangs() -> None:
    row = cell(FakeLink(rounds=1))
    assert row.samples == {OURS: [2.0] * superlink.ROUNDS}
    assert row.notes == {superlink.PEER: "it hangs"}
    assert not row.goals


def test_what_was_missing_once_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    def tools(package: str, version: str) -> None:
        tries.append(package)
        raise PeerMissing("flwr cannot be installed")

    monkeypatch.setattr(superlink, "tools", tools)
    link = superlink.SuperLink()
    link.install()

    assert [cell(link).notes for _ in range(2)] == [{superlink.PEER: "flwr cannot be installed"}] * 2
    assert tries == ["flwr"]
    link.close()


@pytest.mark.parametrize(
    ("participants", "parameters", "left_seconds", "why"),
    [
        (8, 10_000_000, 60.0, None),
        (8, 10_000_000, 40.0, "48 s there"),
        (32, 10_000, 60.0, "132 s there"),
        (32, 10_000, 140.0, None),
        (32, 10_000_000, 180.0, "22 GB there"),
    ],
)
def test_a_cell_is_left_out_where_it_takes_too_much(
    participants: int, parameters: int, left_seconds: float, why: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"SC_PHYS_PAGES": 16 * 10**6, "SC_PAGE_SIZE": 1000}
    monkeypatch.setattr("os.sysconf", sizes.__getitem__)

    if why is None:
        superlink.must_fit(participants, parameters, left_seconds)
    else:
        with pytest.raises(PeerMissing, match=why):
            superlink.must_fit(participants, parameters, left_seconds)


def test_clients_wait_at_the_harness_until_all_are_let_go(harness: superlink.Harness) -> None:
    with (
        socket.create_connection(("127.0.0.1", harness.port)) as one,
        socket.create_connection(("127.0.0.1", harness.port)) as other,
    ):
        harness.gather(2)
        one.settimeout(0.05)
        with pytest.raises(TimeoutError):
            one.recv(1)
        one.settimeout(5.0)
        harness.let_go()
        assert one.recv(1) == other.recv(1) == b""


def test_clients_that_are_not_called_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superlink, "PATIENCE_SECONDS", 0.05)
    impatient = superlink.Harness()
    with (
        socket.create_connection(("127.0.0.1", impatient.port)),
        pytest.raises(PeerMissing, match=r"only 1 of 2 ClientApps were called within 0\.05 s"),
    ):
        impatient.gather(2)
    impatient.close()


def test_ports_are_not_given_out_twice() -> None:
    ports = superlink.free_ports(8)
    assert len(set(ports)) == 8
