"""Flower's server for one cell: ``server.py PORT PARTICIPANTS PARAMETERS ROUNDS``; run by the Python that has Flower.

`start_server` with `FedAvg` over all participants, without evaluation: Flower's server that pushes its instructions
over one gRPC stream a client. Its SuperLink is measured by `benchmarks.superlink`.
"""

from __future__ import annotations

import logging
import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")

import flwr.server  # type: ignore[import-not-found]  # noqa: E402  # lives in an environment of its own
from flwr.common import ndarrays_to_parameters  # type: ignore[import-not-found]  # noqa: E402
from flwr.server.strategy import FedAvg  # type: ignore[import-not-found]  # noqa: E402


def main() -> None:
    """Serve so many rounds."""
    port, participants, parameters, rounds = map(int, sys.argv[1:])
    logging.getLogger("flwr").setLevel(logging.ERROR)
    strategy = FedAvg(
        fraction_fit=1.0,
        fraction_evaluate=0.0,
        min_fit_clients=participants,
        min_available_clients=participants,
        initial_parameters=ndarrays_to_parameters([np.zeros(parameters, np.float32)]),
    )
    server = flwr.server.Server(client_manager=flwr.server.SimpleClientManager(), strategy=strategy)
    server.set_max_workers(participants)  # else only 6 at a time are served on two cores
    config = flwr.server.ServerConfig(num_rounds=rounds)
    flwr.server.start_server(server_address=f"127.0.0.1:{port}", server=server, config=config)


if __name__ == "__main__":
    main()
