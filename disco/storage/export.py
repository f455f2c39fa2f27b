"""Writing a model out for other programs: TF.js files, numpy's ``.npz``, or ``.safetensors``."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from disco.core.model import WEIGHTS_FILE, Model
from disco.core.weights import Float32s, Weights
from disco.errors import SettingsError
from disco.storage.files import make_directory, replacing

#: What a file's name may end with. Anything without a suffix is a directory.
SUFFIXES = (".npz", ".safetensors")

MODEL_FILE = "model.json"


def write(weights: Weights, model: Model, to: Path) -> list[Path]:
    """Write weights out with the names, or the architecture, of their model.

    A file is replaced whole or not at all.

    Args:
        weights: of the model's structure.
        model: where their names and the architecture come from.
        to: ends in ``.npz`` or ``.safetensors``, or is a directory for ``model.json`` and ``weights.bin``.

    Returns:
        The files written.

    Raises:
        SettingsError: `to` ends in something else, or needs a package that is not installed.
        StorageError: the disk refused.
    """
    weights.require_structure(model.structure)
    if to.suffix and not to.is_dir() and to.suffix not in SUFFIXES:
        raise SettingsError(f"{to} must be a directory or end in {' or '.join(SUFFIXES)}")
    if to.is_dir() or not to.suffix:
        return _write_tfjs(weights, model, to)
    make_directory(to.parent)
    if to.suffix == ".npz":
        with replacing(to) as file:
            _write_npz(weights, model, file)
    else:
        content = to_safetensors(weights, model)
        with replacing(to) as file:
            file.write(content)
    return [to]


def to_npz(weights: Weights, model: Model) -> bytes:
    """Return what `write` would put into an ``.npz`` file."""
    file = io.BytesIO()
    _write_npz(weights, model, file)
    return file.getvalue()


def to_safetensors(weights: Weights, model: Model) -> bytes:
    """Return what `write` would put into a ``.safetensors`` file.

    Raises:
        SettingsError: the package safetensors is not installed.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise SettingsError(
            "a .safetensors file needs the package safetensors; install it with: "
            "pip install 'disco-server[safetensors]'"
        ) from error
    content: bytes = save(
        {name: np.asarray(array, order="C") for name, array in _named(weights, model).items()}
    )
    return content


def tensor_names(model: Model) -> list[str]:
    """Return one name a tensor, in the model's order. A name that occurs again gets a number."""
    specs = [spec for group in model.tfjs_json()["weightsManifest"] for spec in group["weights"]]
    return _unique(spec["name"] for spec in specs if spec.get("group") != "optimizer")


def _unique(names: Iterable[str]) -> list[str]:
    taken: dict[str, None] = {}
    for name in names:
        candidate, number = name, 1
        while candidate in taken:
            candidate, number = f"{name}_{number}", number + 1
        taken[candidate] = None
    return list(taken)


def _write_tfjs(weights: Weights, model: Model, directory: Path) -> list[Path]:
    make_directory(directory)
    paths = [directory / WEIGHTS_FILE, directory / MODEL_FILE]
    contents = [model.weights_bin(weights), json.dumps(model.tfjs_json()).encode()]
    for path, content in zip(paths, contents, strict=True):
        with replacing(path) as file:
            file.write(content)
    return paths


def _write_npz(weights: Weights, model: Model, file: BinaryIO) -> None:
    # numpy.savez takes names as keyword arguments, and so cannot write a tensor called "file".
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in _named(weights, model).items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array)


def _named(weights: Weights, model: Model) -> dict[str, Float32s]:
    return dict(zip(tensor_names(model), weights.arrays(), strict=True))
