"""What the server holds stays bounded, however many send at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.load.participant import Participant, post_task, together, update_frame
from benchmarks.processes import forget_peak, memory
from tests.test_launch import launched

PARAMETERS = 10_000_000
MODEL_MEGABYTES = 4 * PARAMETERS / 1e6
LIMIT_MEGABYTES = 200
CLIENTS = 64


@pytest.mark.slow
@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="peak memory is read from Linux's /proc"
)
def test_64_clients_sending_40_megabytes_at_once_stay_within_the_bytes_in_flight(tmp_path: Path) -> None:
    limit = str(LIMIT_MEGABYTES * 1_000_000)
    command = ("disco", "serve", "--port", "0", "--log-level", "warning")
    with launched(*command, data=tmp_path / "data", DISCO_LIMITS_BYTES_IN_FLIGHT=limit) as (process, url):
        port = int(url.rpartition(":")[2])
        post_task(port, "large", CLIENTS, PARAMETERS)
        people = [Participant(port, "large") for _ in range(CLIENTS)]
        forget_peak(process.pid)
        idle = memory(process.pid, "VmRSS")
        together(people, update_frame(PARAMETERS, 0))
        peak = memory(process.pid, "VmHWM")
        for person in people:
            person.close()
    assert idle is not None
    assert peak is not None
    assert peak - idle <= LIMIT_MEGABYTES + 6 * MODEL_MEGABYTES
