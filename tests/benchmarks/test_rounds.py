"""Rounds are measured against Flower twice, and the goal is set against one of the two; nothing is started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from benchmarks import rounds
from benchmarks.chart import COLORS
from benchmarks.measuring import OURS, SERVERS
from benchmarks.plan import Plan
from benchmarks.processes import PEERS, PeerMissing, Server


def test_every_peer_has_a_heading_and_a_colour() -> None:
    assert SERVERS.keys() - {OURS} == COLORS.keys()
    assert rounds.FLOWERS.keys() <= SERVERS.keys()


@pytest.mark.parametrize("clients", rounds.FLOWERS.values())
def test_who_takes_part_at_flower_is_a_program_among_the_peers(clients: str) -> None:
    assert (PEERS / "flower" / clients).is_file()


def test_the_goal_is_set_against_flower_with_its_own_clients_only(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def sessions(
        servers: dict[str, Server], participants: int, parameters: int
    ) -> Iterator[tuple[dict[str, object], dict[str, str]]]:
        yield {name: SimpleNamespace(one=lambda: 0.002) for name in ("disco", *rounds.FLOWERS)}, {}

    monkeypatch.setattr(rounds, "sessions", sessions)
    row = rounds.cell(Plan(quick=True), {}, 2, 10_000)

    assert row.median("flower_bare") == 2.0
    assert {peer for peer in row.goals if "flower" in peer} == {"flower"}


@pytest.mark.parametrize(
    ("flower", "values", "gigabytes", "left_out"),
    [
        ("flower", 80_000_000, 8, False),
        ("flower_bare", 80_000_000, 8, True),
        ("flower_bare", 80_000_000, 16, False),
        ("flower", 320_000_000, 64, True),
        ("flower_bare", 320_000_000, 64, True),
    ],
)
def test_flower_is_left_out_where_it_takes_too_much_memory(
    flower: str, values: int, gigabytes: int, left_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"SC_PHYS_PAGES": gigabytes * 10**6, "SC_PAGE_SIZE": 1000}
    monkeypatch.setattr("os.sysconf", sizes.__getitem__)

    if left_out:
        with pytest.raises(PeerMissing, match=r"GB there$"):
            rounds.must_fit(flower, values)
    else:
        rounds.must_fit(flower, values)
