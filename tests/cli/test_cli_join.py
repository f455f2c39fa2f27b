from __future__ import annotations

import json
import math
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trio
from click.testing import CliRunner, Result

from disco.cli import main
from disco.cli.join import describe
from disco.cli.taking_part import Lesson, _Decentralized, sentence
from disco.core.weights import Float32s, Weights
from disco.errors import PeersLost
from disco.participant import ClippedNoise, News, NewsKind, Participant
from tests.conftest import TINY, Server, ServerFactory
from tests.masking.conftest import SECURE


def rows(path: Path, seed: int) -> Path:
    """Write examples of the tiny task: y is 1 where a > b."""
    points = np.random.default_rng(seed).normal(size=(60, 2)).round(3)
    lines = [f"{a},{b},{int(a > b)}" for a, b in points]
    path.write_text("\n".join(["a,b,y", *lines, "1,,0"]), "utf-8")
    return path


async def join(server: Server, *arguments: object) -> Result:
    command = ["join", *map(str, arguments), "--server", server.url]
    return await trio.to_thread.run_sync(partial(CliRunner().invoke, main, command))


async def join_with_a_partner(server: Server, tmp_path: Path, *arguments: object) -> Result:
    """Take part in three rounds beside a participant that always contributes zeros."""
    results: list[Result] = []

    async def partner(task_status: trio.TaskStatus[None]) -> None:
        async with Participant(server.url, "tiny") as participant:
            task_status.started()
            for _ in range(3):
                await participant.exchange([np.zeros_like(array) for array in participant.weights])

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(partner)
            data = rows(tmp_path / "rows.csv", 0)
            results.append(await join(server, "tiny", "--data", data, "--rounds", 3, *arguments))
    return results[0]


async def test_rounds_are_trained_and_reported(server: Server, tmp_path: Path) -> None:
    report = json.loads((await join_with_a_partner(server, tmp_path, "--json")).stdout)
    assert [lesson["number"] for lesson in report["rounds"]] == [0, 1, 2]
    assert all(math.isfinite(lesson["shared"]["loss"]) for lesson in report["rounds"])


async def test_elsewhere_than_on_a_terminal_each_round_is_a_line(server: Server, tmp_path: Path) -> None:
    lines = (await join_with_a_partner(server, tmp_path)).stdout.splitlines()
    assert [line.split("   ")[0] for line in lines] == ["round 0", "round 1", "round 2"]


async def test_what_is_written_is_what_the_server_serves(server: Server, tmp_path: Path) -> None:
    await join_with_a_partner(server, tmp_path, "--out", tmp_path / "model.npz")
    entry = server.app.directory.get("tiny")
    with np.load(tmp_path / "model.npz") as written:
        arrays = list(written.values())
    for array, served in zip(arrays, entry.served().weights.arrays(), strict=True):
        np.testing.assert_array_equal(array, served)


async def test_rows_without_a_value_are_counted_on_stderr(server: Server, tmp_path: Path) -> None:
    assert "1 rows lack a value and are left out" in (await join_with_a_partner(server, tmp_path)).stderr


async def test_data_that_does_not_fit_is_one_sentence_before_anything_is_sent(
    server: Server, tmp_path: Path
) -> None:
    data = tmp_path / "rows.csv"
    data.write_text("a,y\n1,1\n")
    joined = await join(server, "tiny", "--data", data)
    assert joined.exit_code == 2
    assert joined.stderr == f"Error: {data} lacks the columns b; its first line must name them\n"


async def test_an_unwritable_out_is_told_before_the_training(server: Server, tmp_path: Path) -> None:
    joined = await join(server, "tiny", "--data", rows(tmp_path / "0.csv", 0), "--out", tmp_path / "model.h5")
    assert joined.exit_code == 2
    assert "--out must be a directory or end in .npz or .safetensors" in joined.stderr


async def test_an_unknown_task_is_told(server: Server, tmp_path: Path) -> None:
    joined = await join(server, "nobody", "--data", tmp_path)
    assert joined.exit_code == 1
    assert "there is no task 'nobody'" in joined.stderr


def test_a_round_is_one_line() -> None:
    lesson = Lesson(3, {"loss": 0.5}, {"loss": 0.25, "accuracy": 1.0}, 2, 1.26)
    assert (
        describe(lesson) == "round 3   mine loss 0.500   shared loss 0.250 accuracy 1.000   2 present   1.3 s"
    )


@pytest.mark.parametrize("kind", NewsKind)
def test_all_news_has_words(kind: NewsKind) -> None:
    assert sentence(News(kind, 2, "reset by peer"))


class _Averaging:
    """A peer among others who send nothing but zeros."""

    participants = ("a", "b")

    def __init__(self) -> None:
        self.sent: list[list[Float32s]] = []
        self.lost = 0

    async def exchange(self, weights: Sequence[Float32s]) -> list[Float32s]:
        self.sent.append(list(weights))
        if self.lost:
            self.lost -= 1
            raise PeersLost("one has gone")
        return [np.divide(array, 2, dtype=np.float32) for array in weights]


async def test_what_peers_are_sent_is_clipped_against_the_model_that_they_share() -> None:
    peer, initial = _Averaging(), Weights.from_arrays([np.full(4, 10.0)])
    company = _Decentralized(peer, lambda _: None, ClippedNoise(1.0), initial)
    for _ in range(2):
        await company.exchange([np.full(4, 100.0, np.float32)], 1, {})

    np.testing.assert_allclose([sent[0] for sent in peer.sent], [[10.5] * 4, [5.75] * 4], rtol=1e-6)


async def test_a_round_of_peers_that_is_tried_again_sends_the_same() -> None:
    peer = _Averaging()
    peer.lost = 2
    company = _Decentralized(peer, lambda _: None, ClippedNoise(1.0, 1.0), Weights.from_arrays([np.zeros(4)]))
    await company.exchange([np.ones(4, np.float32)], 1, {})

    np.testing.assert_array_equal(peer.sent[1:], peer.sent[:-1])


@pytest.mark.parametrize(("option", "clipped"), [((), True), (("--without-privacy",), False)])
async def test_the_local_privacy_that_a_task_asks_for_is_applied_unless_told_otherwise(
    start: ServerFactory, tmp_path: Path, option: Sequence[str], clipped: bool
) -> None:
    folder = tmp_path / "tasks" / "tiny"
    shutil.copytree(TINY / "tiny", folder)
    document = (folder / "task.toml").read_text("utf-8")
    asking = document.replace("[trainingInformation]\n", "[trainingInformation]\nclippingRadius = 1e-4\n")
    (folder / "task.toml").write_text(asking, "utf-8")
    async with start(tasks_dir=tmp_path / "tasks") as server, Participant(server.url, "tiny") as partner:
        before = partner.weights
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partner.exchange, before)
                data = rows(tmp_path / "rows.csv", 0)
                assert (await join(server, "tiny", "--data", data, "--rounds", 1, *option)).exit_code == 0
        moved = math.dist(*(Weights.from_arrays(model).flat for model in (partner.weights, before)))

    assert (moved < 1e-4) is clipped


# ── group secrets ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def masked(start: ServerFactory, tmp_path: Path) -> AsyncIterator[Server]:
    """A server whose tiny task masks contributions, for two."""
    folder = tmp_path / "masked" / "tiny"
    shutil.copytree(TINY / "tiny", folder)
    document = (folder / "task.toml").read_text("utf-8").replace("minNbOfParticipants = 2", SECURE)
    (folder / "task.toml").write_text(f"{document}\n[aggregation]\nmasking = {{ range = 16.0 }}\n", "utf-8")
    async with start(tasks_dir=tmp_path / "masked") as server:
        yield server


async def test_a_group_secret_from_a_file_opens_the_others_shares(masked: Server, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("known to us alone\n", "utf-8")
    data, results = rows(tmp_path / "rows.csv", 0), []
    arguments = ("tiny", "--data", data, "--rounds", 1, "--group-secret-file", tmp_path / "secret")

    async def command() -> None:
        results.append(await join(masked, *arguments))

    async with AsyncExitStack() as stack:
        others = [
            await stack.enter_async_context(Participant(masked.url, "tiny", group_secret="known to us alone"))
            for _ in range(2)
        ]
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(command)
                for other in others:
                    nursery.start_soon(other.exchange, other.weights)
    assert results[0].exit_code == 0, results[0].output
    assert masked.app.directory.get("tiny").served().round == 1


async def test_a_task_that_masks_nothing_gets_nothing_from_who_has_a_group_secret(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("known to us alone", "utf-8")
    data = rows(tmp_path / "rows.csv", 0)
    arguments = ("tiny", "--data", data, "--group-secret-file", tmp_path / "secret")
    done = await join(server, *arguments)
    assert done.exit_code == 1
    assert "masks nothing" in done.stderr
    assert server.app.metrics.value("contributions", task="tiny", outcome="accepted") == 0
    peers = await join(server, *arguments, "--scheme", "decentralized")
    assert peers.exit_code == 2
    assert "peers have no use for it" in peers.stderr
