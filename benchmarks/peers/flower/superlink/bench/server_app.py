"""The ServerApp of one cell: `FedAvg` over all nodes, without evaluation."""

from __future__ import annotations

import numpy as np
from flwr.app import ArrayRecord, Context  # type: ignore[import-not-found]  # lives in an environment of its own
from flwr.serverapp import Grid, ServerApp  # type: ignore[import-not-found]
from flwr.serverapp.strategy import FedAvg  # type: ignore[import-not-found]

app = ServerApp()


@app.main()  # type: ignore[untyped-decorator]
def main(grid: Grid, context: Context) -> None:
    """Have the rounds that the run is configured to have."""
    config = context.run_config
    participants, parameters = int(config["participants"]), int(config["parameters"])
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=participants, min_available_nodes=participants)
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros(parameters, np.float32)]),
        num_rounds=int(config["num-server-rounds"]),
    )
