from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from disco.core.model import Model, ModelKind
from disco.core.weights import Weights
from disco.errors import InvalidTask, InvalidUpdate

GOLDEN = Path(__file__).parents[1] / "interop" / "golden"
TOPOLOGY = {"class_name": "Sequential", "config": {"name": "small", "layers": []}}


def served_by_v2() -> bytes:
    """A model as a real v2 server serves it."""
    return bytes(json.loads((GOLDEN / "http_get_model.json").read_text())["response"]["body"])


def specs_of(*shapes: tuple[int, ...]) -> list[dict[str, Any]]:
    return [{"name": f"t{n}", "shape": list(shape), "dtype": "float32"} for n, shape in enumerate(shapes)]


def model_json(*shapes: tuple[int, ...], **more: Any) -> dict[str, Any]:
    manifest = [{"paths": ["weights.bin"], "weights": specs_of(*shapes)}]
    return {"format": "layers-model", "modelTopology": TOPOLOGY, "weightsManifest": manifest, **more}


def float_bytes(*values: float) -> bytes:
    return np.array(values, dtype="<f4").tobytes()


def packed(value: Any) -> bytes:
    encoded: bytes = msgpack.packb(value)
    return encoded


def packed_artifacts(data: Any, *shapes: tuple[int, ...]) -> bytes:
    return packed({"weightData": data, "weightSpecs": specs_of(*shapes), "modelTopology": TOPOLOGY})


def packed_gpt(*config: Any, tensors: list[Any] | None = None) -> bytes:
    first = {"shape": [2, 1], "data": msgpack.ExtType(0x17, float_bytes(1, 2))}
    second = {"shape": [], "data": msgpack.ExtType(0x17, float_bytes(3))}
    return packed([1, packed([first, second] if tensors is None else tensors), *config])


def problems_of(read: Any, *arguments: Any) -> dict[str, str]:
    with pytest.raises(InvalidTask) as caught:
        read(*arguments)
    return {problem.path: problem.problem for problem in caught.value.problems}


ARRAYS = npst.arrays(
    np.float32,
    npst.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=3),
    elements=st.floats(-9, 9, width=32),
)
STATE = st.sampled_from([None, {"name": "iter", "shape": [], "dtype": "int32", "group": "optimizer"}])


@st.composite
def models(draw: st.DrawFn) -> Model:
    weights = Weights.from_arrays(draw(st.lists(ARRAYS, min_size=1, max_size=4)))
    state = draw(STATE)
    specs = specs_of(*weights.shapes) + ([] if state is None else [state])
    artifacts: dict[str, Any] = {"modelTopology": TOPOLOGY, "weightSpecs": specs}
    artifacts |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "format": st.just("layers-model"),
                "convertedBy": st.none(),
                "userDefinedMetadata": st.just({"tabularStandardization": {"means": {"a": 1.5}}}),
            },
        )
    )
    return Model(ModelKind.TFJS, weights, artifacts, b"" if state is None else b"\1\2\3\4")


# ── Round trips ──────────────────────────────────────────────────────────────────────────────────────────


def alike(one: Model, other: Model) -> bool:
    return (
        one.kind is other.kind
        and one.weights.equals(other.weights)
        and one.artifacts == other.artifacts
        and one.extra == other.extra
    )


@given(models(), st.booleans(), st.none() | st.just("tabular"))
def test_a_model_survives_msgpack(model: Model, tagged: bool, data_type: str | None) -> None:
    assert alike(Model.from_msgpack(model.to_msgpack(tagged=tagged, data_type=data_type)), model)


@given(models())
def test_a_model_survives_files(model: Model) -> None:
    text = json.dumps(model.tfjs_json())
    again = Model.from_tfjs(json.loads(text), model.weights_bin())

    assert again.weights.equals(model.weights)
    assert again.extra == model.extra
    assert again.tfjs_json() == model.tfjs_json()


def test_a_gpt_survives_msgpack_and_files() -> None:
    model = Model.from_msgpack(packed_gpt({"modelType": "gpt-nano"}))

    assert alike(Model.from_msgpack(model.to_msgpack(tagged=True)), model)
    assert alike(Model.from_tfjs(model.tfjs_json(), model.weights_bin()), model)


# ── What clients send ────────────────────────────────────────────────────────────────────────────────────


def test_the_real_client_s_model_is_read() -> None:
    model = Model.from_msgpack(served_by_v2())

    assert model.structure == ((2, 2), (2,), (2, 1), (1,))
    assert model.weights.flat.tolist() == pytest.approx([1, -2, 0.5, 300, 0, 0.1, -70000, 1.25, 127])


@pytest.mark.parametrize(
    "data",
    [msgpack.ExtType(0x1A, float_bytes(1, 2)), msgpack.ExtType(0x17, float_bytes(1, 2)), float_bytes(1, 2)],
)
def test_weight_data_may_be_an_array_buffer_a_float32_array_or_bin(data: Any) -> None:
    assert Model.from_msgpack(packed_artifacts(data, (2,))).weights.flat.tolist() == [1, 2]


def test_weight_data_may_be_cut_in_several_buffers() -> None:
    data = [msgpack.ExtType(0x1A, float_bytes(1)), msgpack.ExtType(0x1A, float_bytes(2))]

    assert Model.from_msgpack(packed_artifacts(data, (2,))).weights.flat.tolist() == [1, 2]


@pytest.mark.parametrize("head", [[0], [0, "image"]])
def test_v3_and_v4_put_the_kind_and_later_the_type_of_data_before_the_model(head: list[Any]) -> None:
    artifacts = {"modelTopology": TOPOLOGY, "weightSpecs": specs_of((1,)), "weightData": float_bytes(7)}

    assert Model.from_msgpack(packed([*head, artifacts])).weights.flat.tolist() == [7]


def test_metadata_behind_a_model_is_served_behind_it_again() -> None:
    artifacts = {"modelTopology": TOPOLOGY, "weightSpecs": specs_of((1,)), "weightData": float_bytes(7)}
    metadata = {"tabularStandardization": {"means": {"a": 1.5}, "stds": {"a": 2.0}}}
    model = Model.from_msgpack(packed([0, "tabular", artifacts, metadata]))

    assert msgpack.unpackb(model.to_msgpack(tagged=True, data_type="tabular"))[3] == metadata


def test_dimensions_may_be_written_as_floats() -> None:
    specs = [{"name": "t", "shape": [2.0], "dtype": "float32"}]
    artifacts = {"modelTopology": TOPOLOGY, "weightSpecs": specs, "weightData": float_bytes(1, 2)}

    assert Model.from_msgpack(packed(artifacts)).structure == ((2,),)


def test_several_groups_of_a_manifest_follow_each_other() -> None:
    groups = [
        {"paths": ["a", "b"], "weights": specs_of((1,))},
        {"paths": ["c"], "weights": specs_of((2,), (1,))},
    ]
    model = Model.from_tfjs({"modelTopology": TOPOLOGY, "weightsManifest": groups}, float_bytes(1, 2, 3, 4))

    assert model.structure == ((1,), (2,), (1,))


@pytest.mark.parametrize("config", [(), (None,), ({"nLayer": 3},)])
def test_a_gpt_is_carried_with_its_configuration_if_it_has_one(config: tuple[Any, ...]) -> None:
    model = Model.from_msgpack(packed_gpt(*config))

    assert model.kind is ModelKind.GPT
    assert model.structure == ((2, 1), ())
    assert msgpack.unpackb(model.to_msgpack(tagged=True))[2:] == [
        entry for entry in config if entry is not None
    ]


def test_a_model_does_not_change_with_the_message_that_it_was_read_from() -> None:
    message = bytearray(packed_artifacts(float_bytes(1, 2), (2,)))
    model = Model.from_msgpack(memoryview(message))
    message[:] = bytes(len(message))

    assert model.weights.flat.tolist() == [1, 2]


# ── What is served ───────────────────────────────────────────────────────────────────────────────────────


def test_weight_data_is_served_as_an_array_buffer() -> None:
    model = Model.from_tfjs(model_json((2,)), float_bytes(1, 2))

    assert msgpack.unpackb(model.to_msgpack(tagged=False))["weightData"] == msgpack.ExtType(
        0x1A, float_bytes(1, 2)
    )


def test_a_later_round_s_weights_are_served_in_the_model_s_place() -> None:
    model = Model.from_tfjs(model_json((2,)), float_bytes(1, 2))
    later = Weights.from_arrays([np.array([3, 4])])

    assert model.weights_bin(later) == float_bytes(3, 4)
    assert Model.from_msgpack(model.to_msgpack(later, tagged=True)).weights.equals(later)


def test_weights_of_another_model_cannot_be_served_as_this_one_s() -> None:
    model = Model.from_tfjs(model_json((2,)), float_bytes(1, 2))

    with pytest.raises(InvalidUpdate):
        model.weights_bin(Weights.zeros([(3,)]))


def test_optimizer_state_is_served_again_and_not_trained() -> None:
    state = {"name": "iter", "shape": [], "dtype": "int32", "group": "optimizer"}
    document = {"modelTopology": TOPOLOGY, "weightSpecs": [*specs_of((1,)), state]}
    model = Model.from_tfjs(document, float_bytes(1) + b"\7\0\0\0")

    assert model.structure == ((1,),)
    assert model.weights_bin(Weights.from_arrays([np.array([5])])) == float_bytes(5) + b"\7\0\0\0"


# ── Refusing ─────────────────────────────────────────────────────────────────────────────────────────────


def test_all_problems_are_told_at_once() -> None:
    weights: list[Any] = [
        {"name": "a", "shape": [2], "dtype": "int32"},
        {"name": 3, "shape": [-1], "dtype": "float32"},
        {"name": "c", "shape": [1], "dtype": "float32", "quantization": {"dtype": "uint8"}},
        {"name": "s", "shape": [1], "dtype": "string", "group": "optimizer"},
        "tensor",
    ]
    found = problems_of(Model.from_tfjs, {"weightsManifest": [{"paths": [], "weights": weights}, 7]}, b"")

    where = "model.weightsManifest[0].weights"
    assert found == {
        "model.modelTopology": "is missing: it is the architecture, as TF.js saves it",
        "model.weightsManifest[1].weights": "must be a list of tensors",
        f"{where}[0].dtype": "is 'int32': only float32 weights can be aggregated",
        f"{where}[1].name": "must be text",
        f"{where}[1].shape": "must be a list of whole numbers from 0",
        f"{where}[2].quantization": (
            "is not possible here: weights are aggregated as float32, so save the model without quantization"
        ),
        f"{where}[3].dtype": "must be one of float32, int32, bool, complex64",
        f"{where}[4]": "must be an object with name, shape and dtype",
    }


@pytest.mark.parametrize("size", [0, 4, 7, 12])
def test_bytes_that_do_not_fill_the_shapes_are_refused(size: int) -> None:
    found = problems_of(Model.from_tfjs, model_json((2,)), bytes(size))

    assert found == {"model.weightData": f"has {size} bytes where the weights' shapes need 8"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    assert "model.weightData" in problems_of(Model.from_tfjs, model_json((2,)), float_bytes(1, value))


def test_a_model_without_weights_is_refused() -> None:
    assert "model.weightSpecs" in problems_of(Model.from_tfjs, model_json(), b"")


def test_weights_behind_the_optimizer_s_state_are_refused() -> None:
    specs = specs_of((1,), (1,))
    specs[0]["group"] = "optimizer"
    document = {"modelTopology": TOPOLOGY, "weightSpecs": specs}

    assert "model.weightSpecs[1]" in problems_of(Model.from_tfjs, document, bytes(8))


def test_a_topology_that_json_cannot_hold_is_refused() -> None:
    data = packed(
        {"modelTopology": {"rate": float("inf"), "raw": b"\0"}, "weightData": b"", "weightSpecs": []}
    )

    assert {"model.modelTopology.rate", "model.modelTopology.raw"} <= problems_of(
        Model.from_msgpack, data
    ).keys()


@pytest.mark.parametrize(
    "tensor",
    [
        {"shape": [2], "data": msgpack.ExtType(0x17, float_bytes(1))},
        {"shape": [1], "data": [1.0]},
        {"shape": ["x"], "data": msgpack.ExtType(0x17, float_bytes(1))},
        {"data": msgpack.ExtType(0x17, float_bytes(1))},
        {"shape": [1], "data": msgpack.ExtType(0x17, float_bytes(float("nan")))},
        7,
    ],
)
def test_a_gpt_with_a_tensor_that_is_none_is_refused(tensor: Any) -> None:
    assert problems_of(Model.from_msgpack, packed_gpt(tensors=[tensor]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x91" * 100_000,
        packed(None),
        packed([]),
        packed([0]),
        packed([2, {}]),
        packed([0, 7, {}]),
        packed([1, b"\xc1"]),
        packed([1, packed([])]),
        packed({}),
        packed({"weightData": 7}),
        packed_artifacts(msgpack.ExtType(5, float_bytes(1)), (1,)),
    ],
)
def test_what_is_no_model_is_refused(data: bytes) -> None:
    assert problems_of(Model.from_msgpack, data)


@given(st.binary(max_size=64) | st.binary(max_size=16).map(lambda tail: served_by_v2()[:-20] + tail))
@settings(max_examples=300)
def test_any_bytes_are_a_model_or_refused(data: bytes) -> None:
    try:
        model = Model.from_msgpack(data)
    except InvalidTask:
        return
    assert model.structure


@given(st.data())
def test_a_model_with_a_changed_byte_is_a_model_or_refused(data: st.DataObject) -> None:
    whole = bytearray(served_by_v2())
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        model = Model.from_msgpack(bytes(whole))
    except InvalidTask:
        return
    json.dumps(model.tfjs_json(), allow_nan=False)
