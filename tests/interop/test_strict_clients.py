"""The strict clients are strict: each dies of what a real one of its generation would die of, and says why."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tests.interop.strict.driver import MAIN

pytestmark = pytest.mark.interop

ID = "2f0c4b1e-7a53-4c8e-9f6d-0a1b2c3d4e5f"


def info(dialect: str = "v4", **changes: Any) -> dict[str, Any]:
    fields = {"waitForMoreParticipants": False, "payload": b"\x90", "round": 0, "nbOfParticipants": 2}
    kind: str | int = "NewFederatedNodeInfo" if dialect == "v4" else 7
    return {"type": kind, "id": ID, **fields, **changes}


def run(environment: dict[str, str], dialect: str, scheme: str, *messages: Any) -> tuple[int, str]:
    """Let one client receive messages; its process's status, and what it died of."""
    received = [
        {"text": message}
        if isinstance(message, str)
        else {"hex": (message if isinstance(message, bytes) else msgpack.packb(message)).hex()}
        for message in messages
    ]
    command = {"id": 1, "client": "a", "do": "receive", "dialect": dialect, "scheme": scheme, "task": "t"}
    done = subprocess.run(
        ["node", str(MAIN), "http://127.0.0.1:9"], input=json.dumps({**command, "messages": received}) + "\n",
        env=environment, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


WAITING_V4 = {"type": "WaitingForMoreParticipants", "nbOfParticipants": 1}
ENOUGH_V4 = {"type": "EnoughParticipants", "nbOfParticipants": 2}


@pytest.mark.parametrize(
    ("dialect", "scheme", "messages", "why"),
    [
        ("v4", "federated", ["hello"], "did not send an ArrayBuffer"),
        ("v3", "federated", [b"\xc1"], "cannot be decoded"),
        ("v4", "federated", [b""], "cannot be decoded"),
        ("v4", "federated", [info() | {"type": "Unknown"}], "invalid message received"),
        ("v4", "federated", [info("v3")], "invalid message received"),
        ("v3", "federated", [info("v4")], "invalid message received"),
        ("v3", "federated", [info("v3"), {"type": 4, "peers": [], "aggregationRound": 0}], "invalid message"),
        ("v4", "decentralized", [info()], "invalid message received"),
        ("v3", "federated", [info("v3", payload=None)], "NewFederatedNodeInfo.payload"),
        ("v4", "federated", [info(round=-1)], "NewFederatedNodeInfo.round is -1"),
        ("v4", "federated", [info(), {"type": "EnoughParticipants"}], "EnoughParticipants.nbOfParticipants"),
        ("v4", "federated", [ENOUGH_V4], "before the answer to ClientConnected"),
        ("v4", "federated", [info(), WAITING_V4, WAITING_V4], "multiple WaitingForMoreParticipants"),
        ("v4", "federated", [info(), WAITING_V4, ENOUGH_V4, WAITING_V4], "multiple Waiting"),
        ("v3", "federated", [info("v3", waitForMoreParticipants=True), {"type": 9}, {"type": 8}], "multiple"),
        ("v4", "federated", [info(), {"type": "CrashClient", "reason": "because"}], "because"),
    ],
)  # fmt: skip
def test_a_strict_client_dies_where_a_real_one_would(
    interop_kit: Path,
    node_environment: dict[str, str],
    dialect: str,
    scheme: str,
    messages: list[Any],
    why: str,
) -> None:
    status, said = run(node_environment, dialect, scheme, *messages)
    assert status == 1
    assert why in said


@pytest.mark.parametrize("dialect", ["v3", "v4"])
def test_a_strict_client_takes_what_a_real_one_takes(
    interop_kit: Path, node_environment: dict[str, str], dialect: str
) -> None:
    unknown_key = info(dialect, unheardOf=[None])
    assert run(node_environment, dialect, "federated", unknown_key) == (0, "")
