"""The ClientApp of one cell: its answer is there already, and waits until the harness lets everybody go.

Flower starts it as a process of its own for every message. It connects to the harness when it is called, that is when
the model is there, and returns when the harness closes the connection.
"""

from __future__ import annotations

import socket

import numpy as np
from flwr.app import (  # type: ignore[import-not-found]  # lives in an environment of its own
    ArrayRecord,
    Context,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp  # type: ignore[import-not-found]

app = ClientApp()


@app.train()  # type: ignore[untyped-decorator]
def train(message: Message, context: Context) -> Message:
    """Tell that the model is there, and answer when it is time."""
    trained = np.full(int(context.run_config["parameters"]), 0.5, np.float32)
    content = RecordDict({"arrays": ArrayRecord([trained]), "metrics": MetricRecord({"num-examples": 1})})
    with socket.create_connection(("127.0.0.1", int(context.run_config["harness"]))) as harness:
        harness.recv(1)
    return Message(content, reply_to=message)
