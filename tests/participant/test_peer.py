"""Peers that average over real WebRTC channels, introduced by a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import trio

from disco.core.messages import Message, RetryConnections
from disco.core.names import ParticipantID
from disco.core.weights import Float32s
from disco.errors import (
    ConnectionLost,
    InvalidUpdate,
    PeersLost,
    ProtocolViolation,
    Refused,
    SettingsError,
)

pytest.importorskip("aiortc")

from disco.participant.peer import Peer
from disco.participant.secure import SecureAggregation

DIALECTS = ("v2", "v3", "v4")
SHAPES = ((2, 3), (3,), ())
TINY = Path(__file__).parent.parent / "tasks" / "tiny"

HubFactory: TypeAlias = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def hub(start: Any, tmp_path: Path) -> HubFactory:
    """Serve a task whose rounds need `minimum` peers; yields the server's URL."""

    @asynccontextmanager
    async def serving(minimum: int, wishes: str = "") -> AsyncIterator[str]:
        folder = tmp_path / "tasks" / "tiny"
        folder.mkdir(parents=True)
        for file in TINY.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        task = (TINY / "task.toml").read_text("utf-8")
        task = task.replace("minNbOfParticipants = 2", f"minNbOfParticipants = {minimum}\n{wishes}")
        (folder / "task.toml").write_text(task, "utf-8")
        async with start(tasks_dir=tmp_path / "tasks") as server:
            yield server.url

    return serving


def model(who: int, step: int = 0) -> list[Float32s]:
    """Weights that differ for every peer, step and position, and are no round numbers."""
    source = np.random.default_rng([who, step])
    return [np.asarray(source.normal(size=shape), dtype=np.float32) for shape in SHAPES]


def mean_of(models: Sequence[Sequence[Float32s]]) -> list[Float32s]:
    return [
        np.asarray(np.mean(np.stack(tensors), axis=0, dtype=np.float64), dtype=np.float32)
        for tensors in zip(*models, strict=True)
    ]


def assert_equal(found: Sequence[Float32s], wanted: Sequence[Float32s], tolerance: float = 0.0) -> None:
    assert [tensor.shape for tensor in found] == [tensor.shape for tensor in wanted]
    for tensor, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(tensor, expected, rtol=0, atol=tolerance)


async def together(*jobs: Callable[[], Any]) -> None:
    """Run all at once, for at most half a minute."""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(job)


# ── Rounds ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_peer_gets_the_exact_mean_in_every_round(hub: HubFactory, dialect: str) -> None:
    results: dict[tuple[int, int], list[Float32s]] = {}

    async def train(url: str, who: int) -> None:
        async with Peer(url, "tiny", dialect=dialect) as peer:
            for step in range(2):
                results[who, step] = await peer.exchange(model(who, step))

    async with hub(3) as url:
        await together(*(lambda who=who: train(url, who) for who in range(3)))
    for step in range(2):
        wanted = mean_of([model(who, step) for who in range(3)])
        for who in range(3):
            assert_equal(results[who, step], wanted)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_secure_aggregation_gives_every_peer_the_same_mean(hub: HubFactory, dialect: str) -> None:
    results = {}

    async def train(url: str, who: int) -> None:
        async with Peer(url, "tiny", dialect=dialect, secure=SecureAggregation()) as peer:
            results[who] = await peer.exchange(model(who))

    async with hub(3) as url:
        await together(*(lambda who=who: train(url, who) for who in range(3)))
    assert_equal(results[0], mean_of([model(who) for who in range(3)]), tolerance=3e-5)
    for who in (1, 2):
        assert_equal(results[who], results[0])


async def test_peers_see_the_same_round_and_their_own_place_in_it(hub: HubFactory) -> None:
    seen = {}

    async def train(url: str) -> None:
        async with Peer(url, "tiny", dialect="v2") as peer:
            await peer.exchange(model(0))
            seen[peer.id] = peer.participants

    async with hub(3) as url:
        await together(*(lambda: train(url) for _ in range(3)))
    assert len(seen) == 3
    assert set(seen.values()) == {tuple(sorted(seen, key=int))}


async def test_a_leaver_is_replaced_by_a_newcomer_between_rounds(hub: HubFactory) -> None:
    results = {}

    async def train(url: str, who: int, steps: Sequence[int], left: trio.Event, join: trio.Event) -> None:
        await join.wait()
        async with Peer(url, "tiny", dialect="v2") as peer:
            for step in steps:
                results[who, step] = await peer.exchange(model(who, step))
        left.set()

    async with hub(3) as url:
        gone, now, ignored = trio.Event(), trio.Event(), trio.Event()
        now.set()
        await together(
            lambda: train(url, 0, (0, 1), ignored, now),
            lambda: train(url, 1, (0, 1), ignored, now),
            lambda: train(url, 2, (0,), gone, now),
            lambda: train(url, 3, (1,), ignored, gone),
        )
    assert_equal(results[0, 0], mean_of([model(who, 0) for who in (0, 1, 2)]))
    for who in (0, 1, 3):
        assert_equal(results[who, 1], mean_of([model(other, 1) for other in (0, 1, 3)]))


async def test_a_model_of_many_chunks_arrives_whole(hub: HubFactory) -> None:
    large = [np.arange(100_000, dtype=np.float32) * 0.25]
    results = []

    async def train(url: str, sign: int) -> None:
        async with Peer(url, "tiny", dialect="v2") as peer:
            results.append(await peer.exchange([sign * tensor for tensor in large]))

    async with hub(2) as url:
        await together(lambda: train(url, 3), lambda: train(url, -1))
    for result in results:
        assert_equal(result, large)


async def test_zeros_of_both_signs_are_one_zero_for_everybody(hub: HubFactory) -> None:
    """v2 carries no sign of zero from npm's clients, so it may not be in the mean either."""
    results = []

    async def train(url: str) -> None:
        async with Peer(url, "tiny", dialect="v2") as peer:
            results.append(await peer.exchange([np.array([-0.0], dtype=np.float32)]))

    async with hub(2) as url:
        await together(lambda: train(url), lambda: train(url))
    assert not any(np.signbit(result[0]).any() for result in results)


# ── Peers that vanish ────────────────────────────────────────────────────────────────────────────────────


class Silent(Peer):
    """A peer that connects and then says nothing."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.connected = trio.Event()

    async def _share(self, *_: Any) -> Any:
        self.connected.set()
        await trio.sleep_forever()


@pytest.mark.parametrize("dialect", ["v2", "v4"])
async def test_a_peer_that_leaves_during_the_round_is_named_and_the_others_try_again(
    hub: HubFactory, dialect: str
) -> None:
    results, lost, ids, failed = [], [], [], trio.Event()

    async def train(url: str, who: int) -> None:
        async with Peer(url, "tiny", dialect=dialect) as peer:
            with pytest.raises(PeersLost, match="left the round") as caught:
                await peer.exchange(model(who))
            lost.append(caught.value.peers)
            failed.set()
            results.append(await peer.exchange(model(who)))

    async def vanish(url: str) -> None:
        async with Silent(url, "tiny", dialect=dialect) as peer, trio.open_nursery() as nursery:
            ids.append(peer.id)
            nursery.start_soon(peer.exchange, model(2))
            await peer.connected.wait()
            nursery.cancel_scope.cancel()

    async def stand_in(url: str) -> None:
        await failed.wait()
        async with Peer(url, "tiny", dialect=dialect) as peer:
            results.append(await peer.exchange(model(2)))

    async with hub(3) as url:
        await together(
            lambda: train(url, 0), lambda: train(url, 1), lambda: vanish(url), lambda: stand_in(url)
        )
    assert tuple(ids) in lost
    for result in results:
        assert_equal(result, mean_of([model(who) for who in range(3)]))


async def test_a_silent_peer_is_named_when_the_round_takes_too_long(hub: HubFactory) -> None:
    ids: list[ParticipantID] = []

    async def train(url: str, done: trio.Event) -> None:
        async with Peer(url, "tiny", dialect="v2", exchange_seconds=1.0) as peer:
            with pytest.raises(PeersLost, match="took longer than 1 s") as caught:
                await peer.exchange(model(0))
            assert caught.value.peers == tuple(ids)
        done.set()

    async def stay(url: str, done: trio.Event) -> None:
        async with Silent(url, "tiny", dialect="v2") as peer, trio.open_nursery() as nursery:
            ids.append(peer.id)
            nursery.start_soon(peer.exchange, model(1))
            await done.wait()
            nursery.cancel_scope.cancel()

    async with hub(2) as url:
        finished = trio.Event()
        await together(lambda: train(url, finished), lambda: stay(url, finished))


class Unheard(Peer):
    """A peer whose signals are lost, until it is told for the `patience`-th time to try again."""

    patience = 1

    def _take(self, message: Message) -> bool:
        self.patience -= isinstance(message, RetryConnections)
        return super()._take(message)

    async def _signal(self, to: ParticipantID, signal: bytes) -> None:
        if self.patience <= 0:
            await super()._signal(to, signal)


async def test_peers_that_could_not_connect_try_again_when_the_hub_says_so(hub: HubFactory) -> None:
    results = []

    async def train(url: str, kind: type[Peer], who: int) -> None:
        async with kind(url, "tiny", dialect="v4") as peer:
            results.append(await peer.exchange(model(who)))

    async with hub(3, "maxPeerConnectionTime = 400") as url:
        await together(*(lambda who=who: train(url, Unheard if who else Peer, who) for who in range(3)))
    for result in results:
        assert_equal(result, mean_of([model(who) for who in range(3)]))


async def test_peers_that_cannot_connect_are_out_when_the_hub_says_so(hub: HubFactory) -> None:
    lost: list[str] = []

    async def train(url: str) -> None:
        async with Unheard(url, "tiny", dialect="v4") as peer:
            with pytest.raises(PeersLost, match="could be connected") as caught:
                await peer.exchange(model(0))
            lost.extend(caught.value.peers)

    async with hub(2, "maxPeerConnectionTime = 200\nmaxConnectionRetry = 0") as url:
        await together(lambda: train(url), lambda: train(url))
    assert len(set(lost)) == 2


# ── Disagreement ─────────────────────────────────────────────────────────────────────────────────────────


async def failing_pair(first: Peer, second: Peer, models: Sequence[Any], error: Any, why: str) -> None:
    """Let two peers exchange; at least one must fail so, and the other may lose it."""
    failures: list[Exception] = []

    async def train(peer: Peer, weights: Any) -> None:
        try:
            async with peer:
                await peer.exchange(weights)
        except (error, PeersLost) as failure:
            failures.append(failure)

    await together(lambda: train(first, models[0]), lambda: train(second, models[1]))
    assert any(isinstance(failure, error) and why in str(failure) for failure in failures), failures


async def test_weights_of_another_structure_are_refused_with_their_sender(hub: HubFactory) -> None:
    async with hub(2) as url:
        peers = Peer(url, "tiny", dialect="v2"), Peer(url, "tiny", dialect="v2")
        models = [np.zeros((2,))], [np.zeros((3,))]
        await failing_pair(*peers, models, InvalidUpdate, "weights[0].shape")


async def test_a_peer_that_aggregates_otherwise_is_found_out(hub: HubFactory) -> None:
    async with hub(2) as url:
        secure = SecureAggregation(smallest_round=2)
        peers = Peer(url, "tiny", dialect="v2"), Peer(url, "tiny", dialect="v2", secure=secure)
        await failing_pair(*peers, (model(0), model(1)), ProtocolViolation, "do both aggregate securely?")


async def test_a_pair_cannot_aggregate_securely(hub: HubFactory) -> None:
    async with hub(2) as url:
        first, second = (Peer(url, "tiny", secure=SecureAggregation()) for _ in range(2))
        await failing_pair(first, second, (model(0), model(1)), ProtocolViolation, "protects nobody")


async def test_weights_that_are_not_finite_are_not_sent(hub: HubFactory) -> None:
    async with hub(2) as url, Peer(url, "tiny") as peer:
        with pytest.raises(InvalidUpdate, match="not finite"):
            await peer.exchange([np.array([np.nan])])


# ── The hub ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_unknown_task_is_refused(hub: HubFactory) -> None:
    async with hub(2) as url:
        with pytest.raises(Refused, match="no_such_task"):
            async with Peer(url, "no_such_task"):
                pass


async def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1:9"):
        async with Peer("http://127.0.0.1:9", "tiny", connect_seconds=5.0):
            pass


async def test_waiting_for_others_has_an_end(hub: HubFactory) -> None:
    async with hub(2) as url, Peer(url, "tiny", dialect="v2", patience_seconds=0.2) as peer:
        with pytest.raises(ConnectionLost, match=r"within 0\.2 s"):
            await peer.exchange(model(0))


async def test_an_error_of_the_program_comes_out_as_it_is(hub: HubFactory) -> None:
    async with hub(2) as url:
        with pytest.raises(ZeroDivisionError):
            async with Peer(url, "tiny"):
                raise ZeroDivisionError


async def test_one_exchange_at_a_time(hub: HubFactory) -> None:
    async with hub(2) as url, Peer(url, "tiny", dialect="v2") as peer, trio.open_nursery() as nursery:
        nursery.start_soon(peer.exchange, model(0))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ProtocolViolation, match="one exchange at a time"):
            await peer.exchange(model(0))
        nursery.cancel_scope.cancel()


def test_an_ice_server_of_another_kind_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"http://127\.0\.0\.1"):
        Peer("http://127.0.0.1:8080", "tiny", ice_servers=["http://127.0.0.1"])


def test_a_dialect_that_nobody_speaks_is_refused() -> None:
    with pytest.raises(SettingsError, match="v2, v3, v4"):
        Peer("http://127.0.0.1:8080", "tiny", dialect="v5")
