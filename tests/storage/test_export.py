from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from disco.core.model import Model, ModelKind
from disco.errors import InvalidUpdate, SettingsError, StorageError
from disco.storage import export
from tests.storage.samples import SHAPES, bits, compiled_model, gpt_model, model, weights

NAMES = ["dense/0", "dense/1", "dense/2"]


@pytest.mark.parametrize("given", [model(), compiled_model(), gpt_model()], ids=["tfjs", "compiled", "gpt"])
def test_a_directory_holds_the_tfjs_files_of_the_weights(tmp_path: Path, given: Model) -> None:
    written = export.write(weights(9), given, tmp_path / "out" / "model")
    read = Model.from_tfjs(
        json.loads((tmp_path / "out/model/model.json").read_text()),
        (tmp_path / "out/model/weights.bin").read_bytes(),
    )
    assert {path.name for path in written} == {"model.json", "weights.bin"}
    assert bits(read.weights) == bits(weights(9))
    assert read.extra == given.extra


def test_an_npz_has_every_tensor_by_name_in_order(tmp_path: Path) -> None:
    assert export.write(weights(9), compiled_model(), tmp_path / "m.npz") == [tmp_path / "m.npz"]
    with np.load(tmp_path / "m.npz") as found:
        assert list(found) == NAMES
        for name, expected in zip(NAMES, weights(9).arrays(), strict=True):
            assert found[name].dtype == np.float32
            np.testing.assert_array_equal(found[name], expected, strict=True)


def test_a_safetensors_has_every_tensor_by_name(tmp_path: Path) -> None:
    numpy = pytest.importorskip(
        "safetensors.numpy", reason="the extra disco-server[safetensors] is not installed"
    )
    export.write(weights(9), model(), tmp_path / "m.safetensors")
    found = numpy.load_file(tmp_path / "m.safetensors")
    assert set(found) == set(NAMES)
    for name, expected in zip(NAMES, weights(9).arrays(), strict=True):
        np.testing.assert_array_equal(found[name], expected, strict=True)


def test_tensors_of_one_name_are_told_apart() -> None:
    specs = [{"name": name, "shape": [1], "dtype": "float32"} for name in ("a", "a_1", "a", "file")]
    twins = Model(ModelKind.TFJS, weights(0, [(1,)] * 4), {"modelTopology": {}, "weightSpecs": specs})
    assert export.tensor_names(twins) == ["a", "a_1", "a_2", "file"]


def test_a_missing_extra_is_told_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(SettingsError, match=r"pip install 'disco-server\[safetensors\]'"):
        export.write(weights(9), model(), tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_another_kind_of_file_is_refused_with_those_that_are_possible(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"directory or end in \.npz or \.safetensors"):
        export.write(weights(9), model(), tmp_path / "m.onnx")


def test_weights_of_another_structure_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidUpdate):
        export.write(weights(9, SHAPES[:1]), model(), tmp_path / "m.npz")


@pytest.mark.parametrize("name", ["m.npz", "m.safetensors", "model"])
def test_a_disk_that_refuses_leaves_the_files_that_were_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = {path: path.read_bytes() for path in export.write(weights(1), model(), tmp_path / name)}
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="disk is full"):
        export.write(weights(2), model(), tmp_path / name)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before
