"""``disco join`` at the end of a training, and what it reports of itself."""

from __future__ import annotations

from pathlib import Path

import trio

from disco.participant import Participant
from tests.cli.test_cli_join import join, rows
from tests.conftest import ServerFactory
from tests.evaluation.scorers import Unscored
from tests.evaluation.serving import figures

#: Ends with round 2, as the partner reports the same for every round.
STOPPING = {"figure": "participants.mine", "mode": "max", "patience": 1}


async def test_it_stops_when_the_training_has_ended_and_has_reported_its_figures(
    start: ServerFactory, tmp_path: Path
) -> None:
    async def partner(task_status: trio.TaskStatus[None]) -> None:
        async with Participant(server.url, "scored") as participant:
            task_status.started()
            while not participant.ended:
                await participant.exchange(participant.weights, metrics={"mine": 1.0})

    async with start(providers=[Unscored(stopping=STOPPING)]) as server:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                await nursery.start(partner)
                data = rows(tmp_path / "rows.csv", 0)
                joined = await join(server, "scored", "--data", data, "--rounds", 10)
        assert joined.exit_code == 0
        assert [line.split("   ")[0] for line in joined.stdout.splitlines()] == ["round 0", "round 1"]
        assert "the training has ended: participants.mine has not improved on 1 of round 1" in joined.stderr
        assert {"participants.loss", "participants.accuracy"} <= (await figures(server))[1].keys()
