"""Every message against the bytes of the clients' own libraries: npm's v2 client, @msgpack/msgpack for v3 and v4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from disco.core import events, messages
from disco.core.events import Event
from disco.core.messages import Message, Outcome
from disco.core.names import ParticipantID, Scheme, TaskID
from disco.core.weights import Weights
from disco.errors import Refused
from disco.wire import DIALECTS
from disco.wire.dialect import Form, WeightsForm, whole
from disco.wire.tensors import decode_weights
from tests.wire.strategies import SENDER, alike

INTEROP = Path(__file__).parent.parent / "interop"
OTHER = ParticipantID("b7d1e6a2-90f3-4f6b-8c1d-5e4f3a2b1c0d")
THIRD = ParticipantID("00000000-0000-4000-8000-000000000000")
UP, DOWN = "client->server", "server->client"


def files(folder: str) -> dict[str, dict[str, Any]]:
    """The golden files of a folder that hold one WebSocket message, by name."""
    found = [json.loads(path.read_text("utf-8")) for path in sorted((INTEROP / folder).glob("*.json"))]
    return {
        golden["name"]: golden for golden in found if golden["direction"] in {UP, DOWN} and golden.get("hex")
    }


def by_direction(goldens: dict[str, dict[str, Any]], direction: str) -> list[str]:
    return [name for name, golden in goldens.items() if golden["direction"] == direction]


# ── v2 ───────────────────────────────────────────────────────────────────────────────────────────────────

V2 = files("golden")
CLIENT = ParticipantID("be85e678-a4b9-4f08-a871-282888c2a3a9")
GOLDEN_TASK = TaskID("golden_1795548488557")


def model(*tensors: Any) -> Weights:
    return Weights.from_arrays([np.array(tensor, dtype=np.float32) for tensor in tensors])


def signal_of(golden: dict[str, Any]) -> bytes:
    """The signal's own bytes, which are the message's last."""
    data = bytes.fromhex(golden["hex"])
    return data[data.index(b"\xa6signal") + len(b"\xa6signal") :]


V2_UP: dict[str, Event] = {
    "dec_PeerIsReady": events.BecameReady(CLIENT),
    "dec_SignalForPeer_answer_sent": events.Signalled(CLIENT, ParticipantID("113"), b""),
    "dec_SignalForPeer_candidate_sent": events.Signalled(CLIENT, ParticipantID("112"), b""),
    "dec_SignalForPeer_offer_sent": events.Signalled(CLIENT, ParticipantID("112"), b""),
    "dec_clientConnected_request": events.Joined(CLIENT, pushed=False),
    "fed_clientConnected_request": events.Joined(CLIENT, pushed=False),
    "fed_getMetadataMap_request": events.MetadataRequested(CLIENT, 0, "someKey"),
    "fed_latestServerRound_request": events.ModelRequested(CLIENT),
    "fed_postMetadata": events.MetadataPosted(CLIENT, 0, "someKey", "some value"),
    "fed_postWeightsToServer": events.Contributed(
        CLIENT, 0, model([[1, 2], [3, 4]], [-0.25, -0.5], [[200], [201]], [0.1])
    ),
    "fed_postWeightsToServer_second": events.Contributed(
        CLIENT, 0, model([[3, 4], [5, 6]], [-0.75, -1], [[600], [601]], [0.3])
    ),
    "fed_pullServerStatistics_request": events.StatisticsRequested(CLIENT),
}
V2_DOWN: dict[str, Message] = {
    "dec_PeerID": messages.PeerWelcome(
        ParticipantID("112"), waiting=False, participants=0, mid_training=False
    ),
    "dec_PeersForRound": messages.PeersForRound((ParticipantID("113"),), round=0),
    "dec_SignalForPeer_answer_forwarded": messages.Signal(ParticipantID("112"), b""),
    "dec_SignalForPeer_candidate_forwarded": messages.Signal(ParticipantID("113"), b""),
    "dec_SignalForPeer_offer_forwarded": messages.Signal(ParticipantID("113"), b""),
    "fed_clientConnected_response": messages.Welcome(
        ParticipantID(""), 0, Weights((), ()), waiting=False, participants=0
    ),
    "fed_getMetadataMap_response": messages.Metadata(
        GOLDEN_TASK, CLIENT, 0, "someKey", ((CLIENT, "some value"),)
    ),
    "fed_latestServerRound_response_round0": messages.GlobalModel(
        0, model([[1, -2], [0.5, 300]], [0, 0.1], [[-70_000], [1.25]], [127]), 0, pushed=False
    ),
    "fed_latestServerRound_response_round1": messages.GlobalModel(
        1, model([[2, 3], [4, 5]], [-0.5, -0.75], [[400], [401]], [0.2]), 0, pushed=False
    ),
    "fed_pullServerStatistics_response_round0": messages.Statistics(0, 0, 0, 0.0),
    "fed_pullServerStatistics_response_round1": messages.Statistics(1, 2, 2, 2.0),
}


def v2_scheme(name: str) -> Scheme:
    return Scheme.DECENTRALIZED if name.startswith("dec_") else Scheme.FEDERATED


def with_signal(said: Any, golden: dict[str, Any]) -> Any:
    """Fill in a signal, which is carried as it came."""
    match said:
        case events.Signalled(participant=participant, to=to):
            return events.Signalled(participant, to, signal_of(golden))
        case messages.Signal(sender=sender):
            return messages.Signal(sender, signal_of(golden))
    return said


def test_every_golden_message_of_v2_is_tested() -> None:
    assert set(V2_UP) == set(by_direction(V2, UP))
    assert set(V2_DOWN) == set(by_direction(V2, DOWN))


@pytest.mark.parametrize("name", V2_UP)
def test_what_the_npm_client_sent_is_understood(name: str) -> None:
    data = bytes.fromhex(V2[name]["hex"])
    event, form = DIALECTS["v2"].decode(data, CLIENT, v2_scheme(name), DIALECTS["v2"].FORM)
    assert alike(event, with_signal(V2_UP[name], V2[name]))
    assert form == Form(WeightsForm.INTEGERS)


@pytest.mark.parametrize("name", [name for name in V2_UP if "postWeights" not in name])
def test_a_python_client_of_v2_sends_the_bytes_of_the_npm_client(name: str) -> None:
    event = with_signal(V2_UP[name], V2[name])
    assert DIALECTS["v2"].compose(event, GOLDEN_TASK, DIALECTS["v2"].FORM).hex() == V2[name]["hex"]


@pytest.mark.parametrize("name", V2_DOWN)
def test_a_python_client_of_v2_understands_what_the_npm_client_accepts(name: str) -> None:
    message = DIALECTS["v2"].parse(bytes.fromhex(V2[name]["hex"]), v2_scheme(name))
    assert alike(message, with_signal(V2_DOWN[name], V2[name]))


@pytest.mark.parametrize("name", [name for name in V2_DOWN if "latestServerRound" not in name])
def test_what_is_sent_to_v2_is_what_the_npm_client_accepts(name: str) -> None:
    message = with_signal(V2_DOWN[name], V2[name])
    encoded = DIALECTS["v2"].encode(message, GOLDEN_TASK, DIALECTS["v2"].FORM)
    assert encoded is not None
    assert whole(encoded).hex() == V2[name]["hex"]


@pytest.mark.parametrize("name", [name for name in V2_DOWN if "latestServerRound" in name])
def test_a_model_sent_to_v2_has_the_keys_of_the_npm_clients_in_their_order(name: str) -> None:
    encoded = DIALECTS["v2"].encode(V2_DOWN[name], GOLDEN_TASK, DIALECTS["v2"].FORM)
    assert encoded is not None
    head = bytes.fromhex(V2[name]["hex"]).split(b"\xdc")[0]
    assert whole(encoded).startswith(head)


@pytest.mark.parametrize("name", ["weights_edge_values", "weights_empty", "weights_shapes"])
def test_weights_that_the_npm_client_encoded_are_read(name: str) -> None:
    golden = json.loads((INTEROP / "golden" / f"{name}.json").read_text("utf-8"))
    weights, form = decode_weights(bytes.fromhex(golden["hex"]), "weights")
    assert form is WeightsForm.FLOATS
    assert weights.shapes == tuple(tuple(tensor["shape"]) for tensor in golden["decoded"])
    for found, tensor in zip(weights.tensors, golden["decoded"], strict=True):
        numbers = [float(value["$number"]) if isinstance(value, dict) else value for value in tensor["data"]]
        assert np.array_equal(found, np.array(numbers, dtype=np.float32), equal_nan=True)


# ── v3 and v4 ────────────────────────────────────────────────────────────────────────────────────────────

NEWER = files("golden_v3v4")
MODEL = Weights.from_arrays(
    [
        np.array([[1, -2.5, 0.10000000149011612], [300, 0, -0.000030517578125]], dtype=np.float32),
        np.float32(7),
        np.zeros((0, 4), dtype=np.float32),
    ]
)
NONE = Weights((), ())


def shared(*, pushed_counts: int) -> tuple[dict[str, Event], dict[str, Message]]:
    """What both dialects say, by the end of the file's name; v3 tells no numbers of participants but with models."""
    up: dict[str, Event] = {
        "fed_up_ClientConnected": events.Joined(SENDER),
        "fed_up_SendPayload": events.Contributed(SENDER, 3, MODEL),
        "dec_up_ClientConnected": events.Joined(SENDER),
        "dec_up_JoinRound": events.RoundJoined(SENDER),
        "dec_up_PeerIsReady": events.BecameReady(SENDER),
        "dec_up_SignalForPeer": events.Signalled(SENDER, OTHER, b""),
        "dec_up_SignalForPeer_candidate": events.Signalled(SENDER, OTHER, b""),
    }
    down: dict[str, Message] = {
        "fed_down_ReceiveServerPayload": messages.GlobalModel(4, MODEL, 2, pushed=True),
        "fed_down_WaitingForMoreParticipants": messages.WaitingForMore(pushed_counts),
        "fed_down_EnoughParticipants": messages.Enough(pushed_counts),
        "dec_down_SignalForPeer": messages.Signal(SENDER, b""),
        "dec_down_PeersForRound": messages.PeersForRound((OTHER, THIRD), 300),
        "dec_down_WaitingForMoreParticipants": messages.WaitingForMore(pushed_counts),
        "dec_down_EnoughParticipants": messages.Enough(pushed_counts),
    }
    return up, down


V3_UP, V3_DOWN = shared(pushed_counts=0)
V4_UP, V4_DOWN = shared(pushed_counts=2)
V3_DOWN |= {
    "fed_down_NewFederatedNodeInfo": messages.Welcome(SENDER, 0, MODEL, waiting=True, participants=1),
    "dec_down_NewDecentralizedNodeInfo": messages.PeerWelcome(SENDER, False, 0, mid_training=False),
}
V4_UP |= {
    "dec_up_ConnectionsReady": events.ConnectionsEstablished(SENDER),
    "dec_up_ModelSyncRequest": events.ModelSyncRequested(SENDER),
    "fed_up_ClientConnected_python": events.Joined(SENDER, identity=OTHER),
    "fed_up_SendPayload_python": events.Contributed(SENDER, 3, MODEL, "a-key", 120.5, {"loss": 0.25}),
    "fed_up_SendPayload_undefined": events.Contributed(SENDER, 3, MODEL),
}
V4_DOWN |= {
    "fed_down_NewFederatedNodeInfo_round0": messages.Welcome(SENDER, 0, NONE, waiting=True, participants=1),
    "fed_down_NewFederatedNodeInfo_later": messages.Welcome(
        SENDER, 70_000, MODEL, waiting=True, participants=1
    ),
    "fed_down_ParticipantsUpdate": messages.ParticipantsChanged(200),
    "fed_down_ContributionVerdict_python": messages.Verdict(3, Outcome.DISCARDED, "round 3 is over", "a-key"),
    "dec_down_NewDecentralizedNodeInfo": messages.PeerWelcome(SENDER, False, 4, mid_training=True),
    "dec_down_ParticipantsUpdate": messages.ParticipantsChanged(200),
    "dec_down_StartWeightSharing": messages.StartSharing(),
    "dec_down_RetryPeerConnections": messages.RetryConnections(),
    "dec_down_ConnectionFail": messages.ConnectionsFailed(),
    "dec_down_ModelProviderInfo": messages.ModelProvider(OTHER),
    "dec_down_ProvideModelToPeer": messages.ModelWanted(THIRD),
}
NEWER_UP = {f"{d}_{name}": said for d, up in (("v3", V3_UP), ("v4", V4_UP)) for name, said in up.items()}
NEWER_DOWN = {
    f"{d}_{name}": said for d, down in (("v3", V3_DOWN), ("v4", V4_DOWN)) for name, said in down.items()
}
CRASH = "v4_fed_down_CrashClient"
#: Clients may write nil where Python leaves out.
NOT_OURS = "v4_fed_up_SendPayload_undefined"


def newer(name: str) -> tuple[dict[str, Any], Any, Scheme, bytes]:
    golden = NEWER[name]
    return golden, DIALECTS[golden["dialect"]], Scheme(golden["scheme"]), bytes.fromhex(golden["hex"])


def test_every_golden_message_of_v3_and_v4_is_tested() -> None:
    assert set(NEWER_UP) == set(by_direction(NEWER, UP))
    assert {*NEWER_DOWN, CRASH} == set(by_direction(NEWER, DOWN))


@pytest.mark.parametrize("name", NEWER_UP)
def test_what_a_newer_client_sends_is_understood(name: str) -> None:
    golden, dialect, scheme, data = newer(name)
    event, form = dialect.decode(data, SENDER, scheme, dialect.FORM)
    assert alike(event, with_signal(NEWER_UP[name], golden))
    assert form == Form(WeightsForm.PACKED, verdicts=name == "v4_fed_up_ClientConnected_python")


@pytest.mark.parametrize("name", [name for name in NEWER_UP if name != NOT_OURS])
def test_a_newer_python_client_sends_the_bytes_of_the_real_one(name: str) -> None:
    golden, dialect, _, data = newer(name)
    form = Form(WeightsForm.PACKED, verdicts="ClientConnected_python" in name)
    assert dialect.compose(with_signal(NEWER_UP[name], golden), GOLDEN_TASK, form).hex() == data.hex()


@pytest.mark.parametrize("name", NEWER_DOWN)
def test_what_is_sent_to_a_newer_client_is_what_it_decodes(name: str) -> None:
    golden, dialect, scheme, data = newer(name)
    message = with_signal(NEWER_DOWN[name], golden)
    encoded = dialect.encode(message, GOLDEN_TASK, Form(WeightsForm.PACKED, verdicts=True))
    assert encoded is not None
    assert encoded.hex() == data.hex()
    assert alike(dialect.parse(data, scheme), message)


def test_a_server_that_gives_up_on_its_client_has_refused_it() -> None:
    _, dialect, scheme, data = newer(CRASH)
    with pytest.raises(Refused, match="this task is over"):
        dialect.parse(data, scheme)
