"""A model: its architecture and its weights, in every form that clients know.

Source: TF.js layers-model format; DISCO's wire, ``GET /tasks/:taskID/model.json`` and ``POST /tasks`` of all
generations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from disco.core.documents import unfit
from disco.core.packing import FLOAT32, array_buffer, pack, pack_tensors, raw_bytes, unpack, unpack_tensor
from disco.core.weight_specs import SpecSheet, float32_specs, manifest, read_placed, read_specs
from disco.core.weights import Structure, Weights
from disco.errors import InvalidTask, InvalidUpdate, Problem

#: The name of a model's one file of weights.
WEIGHTS_FILE = "weights.bin"

#: ``format`` of the JSON form of a model that is no TF.js layers model.
GPT_FORMAT = "gpt"


class ModelKind(IntEnum):
    """What a model is to its clients: the number that v3 and v4 put before it."""

    TFJS = 0
    GPT = 1


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """An architecture with its initial weights.

    Args:
        kind: TF.js layers model, or a GPT, which is carried as it came.
        weights: what is trained and aggregated, in the architecture's order.
        artifacts: TF.js: the model artifacts (``modelTopology``, ``weightSpecs``, optional ``format``,
            ``generatedBy``, ``trainingConfig``, …) without ``weightData``. GPT: ``{"config": …}``.
        extra: bytes behind the aggregated weights in ``weightData`` (optimizer state), carried as they came.
    """

    kind: ModelKind
    weights: Weights
    artifacts: Mapping[str, Any]
    extra: bytes = b""

    @property
    def structure(self) -> Structure:
        """The shapes that an update must have."""
        return self.weights.shapes

    @classmethod
    def from_tfjs(
        cls, model_json: Mapping[str, Any], weights_bin: bytes | memoryview, *, path: str = "model"
    ) -> Model:
        """Read TF.js files: ``model.json`` parsed, and the bytes of its weight files in manifest order.

        Raises:
            InvalidTask: every problem found, each under `path`.
        """
        artifacts = {name: value for name, value in model_json.items() if name != "weightData"}
        problems = unfit(artifacts, path)
        if problems:
            raise InvalidTask(problems)
        if "weightsManifest" in artifacts:
            placed, problems = _manifest_specs(artifacts.pop("weightsManifest"), f"{path}.weightsManifest")
            artifacts["weightSpecs"] = [spec for spec, _ in placed]
            sheet = read_placed(placed)
        else:
            sheet = read_specs(artifacts.get("weightSpecs"), f"{path}.weightSpecs")
        if artifacts.get("format") == GPT_FORMAT and "modelTopology" not in artifacts:
            weights, _ = _split(sheet, weights_bin, path, problems)
            return cls(ModelKind.GPT, weights, {"config": artifacts.get("config")})
        return cls._from_artifacts(artifacts, sheet, weights_bin, path, problems)

    @classmethod
    def from_msgpack(cls, data: bytes | memoryview, *, path: str = "model") -> Model:
        """Read the msgpack of model artifacts: v2's map, or v3's and v4's ``[kind, …]``.

        Read are ``{…artifacts}``, ``[0, artifacts]``, ``[0, dataType, artifacts]`` with or without metadata
        behind, and ``[1, weights]`` with or without a configuration.

        Raises:
            InvalidTask: every problem found, each under `path`.
        """
        match _unpack(data, path):
            case dict() as artifacts:
                return cls._from_map(artifacts, path)
            case [ModelKind.TFJS, dict() as artifacts]:
                return cls._from_map(artifacts, path)
            case [ModelKind.TFJS, str(), dict() as artifacts, *rest] if len(rest) < 2:
                return cls._from_map(_with_metadata(artifacts, rest), path)
            case [ModelKind.GPT, bytes() as tensors, *rest] if len(rest) < 2:
                return cls._from_gpt(tensors, rest[0] if rest else None, path)
        raise InvalidTask(
            [Problem(path, "must be the msgpack of {…artifacts}, [0, artifacts] or [1, weights, config]")]
        )

    @classmethod
    def _from_map(cls, artifacts: dict[str, Any], path: str) -> Model:
        given = artifacts.pop("weightData", None)
        problems = unfit(artifacts, path)
        chunks = [raw_bytes(entry) for entry in (given if isinstance(given, list) else [given])]
        if None in chunks:
            rule = "must be bytes: msgpack extension 0x1a or 0x17, or bin"
            problems.append(Problem(f"{path}.weightData", rule))
        sheet = read_specs(artifacts.get("weightSpecs"), f"{path}.weightSpecs")
        data = None if None in chunks else b"".join(chunk for chunk in chunks if chunk is not None)
        return cls._from_artifacts(artifacts, sheet, data, path, problems)

    @classmethod
    def _from_artifacts(
        cls,
        artifacts: dict[str, Any],
        sheet: SpecSheet,
        data: bytes | memoryview | None,
        path: str,
        told: list[Problem],
    ) -> Model:
        problems = [*told]
        if not isinstance(artifacts.get("modelTopology"), dict):
            rule = "is missing: it is the architecture, as TF.js saves it"
            problems.append(Problem(f"{path}.modelTopology", rule))
        weights, extra = _split(sheet, data, path, problems)
        return cls(ModelKind.TFJS, weights, artifacts, extra)

    @classmethod
    def _from_gpt(cls, tensors: bytes | memoryview, config: Any, path: str) -> Model:
        problems = unfit(config, f"{path}.config")
        entries = _unpack(tensors, f"{path}.weights")
        if not isinstance(entries, list) or not entries:
            raise InvalidTask([*problems, Problem(f"{path}.weights", "must be a list of tensors")])
        arrays: list[Any] = []
        for index, entry in enumerate(entries):
            array = unpack_tensor(entry)
            if array is None:
                rule = "must be {shape, data} with data as msgpack extension 0x17 that fills the shape"
                problems.append(Problem(f"{path}.weights[{index}]", rule))
            arrays.append(array)
        if problems:
            raise InvalidTask(problems)
        views = Weights.from_arrays(arrays)
        weights = _checked(Weights.from_flat(views.flat, views.shapes), f"{path}.weights")
        return cls(ModelKind.GPT, weights, {"config": config})

    def tfjs_json(self) -> dict[str, Any]:
        """Write ``model.json`` of the TF.js layers-model format, whose weights are in ``weights.bin``.

        A GPT, which TF.js has no file format for, becomes ``{format: "gpt", config, weightsManifest}``;
        `from_tfjs` reads both.
        """
        if self.kind is ModelKind.GPT:
            specs = float32_specs(self.structure)
            head = {"format": GPT_FORMAT, "config": self.artifacts.get("config")}
            return {**head, "weightsManifest": manifest(specs, WEIGHTS_FILE)}
        head = {"format": "layers-model", "generatedBy": None, "convertedBy": None}
        artifacts = {name: value for name, value in self.artifacts.items() if name != "weightSpecs"}
        return {**head, **artifacts, "weightsManifest": manifest(self.artifacts["weightSpecs"], WEIGHTS_FILE)}

    def weights_bin(self, weights: Weights | None = None) -> bytes:
        """Write ``weights.bin``: the tensors' little-endian bytes in the order of the manifest, with `extra`.

        Args:
            weights: other weights of the same structure, such as a later round's; the initial ones if None.

        Raises:
            InvalidUpdate: `weights` are of another structure.
        """
        current = self._fitting(weights)
        parts = [tensor.astype(FLOAT32, copy=False).data for tensor in current.tensors if tensor.size]
        return b"".join((*parts, self.extra))

    def to_msgpack(
        self, weights: Weights | None = None, *, tagged: bool, data_type: str | None = None
    ) -> bytes:
        """Write the msgpack of model artifacts, ``weightData`` as ext 0x1a.

        Args:
            weights: other weights of the same structure; the initial ones if None.
            tagged: ``[kind, artifacts]``, or the bare map of v2. A GPT is always tagged: v2 has no GPT.
            data_type: the task's, to write ``[kind, dataType, artifacts]``, with the model's metadata behind
                if it has some: what discojs has read since 2025. None for ``[kind, artifacts]``.

        Raises:
            InvalidUpdate: `weights` are of another structure.
        """
        if self.kind is ModelKind.GPT:
            config = self.artifacts.get("config")
            parts = [int(self.kind), pack_tensors(self._fitting(weights))]
            return pack(parts if config is None else [*parts, config])
        data = array_buffer(self.weights_bin(weights))
        artifacts = {**self.artifacts, "weightData": data}
        if not tagged:
            return pack(artifacts)
        if data_type is None:
            return pack([int(self.kind), artifacts])
        return pack([int(self.kind), data_type, artifacts, *_metadata(self.artifacts)])

    def _fitting(self, weights: Weights | None) -> Weights:
        if weights is None:
            return self.weights
        weights.require_structure(self.structure)
        return weights


def _unpack(data: bytes | memoryview, path: str) -> Any:
    try:
        return unpack(data)
    except ValueError as error:
        raise InvalidTask([Problem(path, f"is not msgpack: {error}")]) from error


def _manifest_specs(groups: Any, path: str) -> tuple[list[tuple[Any, str]], list[Problem]]:
    """Return the specs of all groups, each with its path, and what is wrong with the groups themselves."""
    if not isinstance(groups, list):
        return [], [Problem(path, "must be a list of {paths, weights}")]
    placed: list[tuple[Any, str]] = []
    problems = []
    for index, group in enumerate(groups):
        if isinstance(group, dict) and isinstance(group.get("weights"), list):
            placed += [(spec, f"{path}[{index}].weights[{n}]") for n, spec in enumerate(group["weights"])]
        else:
            problems.append(Problem(f"{path}[{index}].weights", "must be a list of tensors"))
    return placed, problems


def _split(
    sheet: SpecSheet, weight_data: bytes | memoryview | None, path: str, told: list[Problem]
) -> tuple[Weights, bytes]:
    """Cut the bytes of a model in weights and optimizer state, copied out of the message they came in.

    Raises:
        InvalidTask: what was `told` before, and everything wrong with the specs or the bytes.
    """
    problems = [*told, *sheet.problems]
    if not sheet.problems and not sheet.weight_bytes:
        problems.append(Problem(f"{path}.weightSpecs", "has no weights: there is nothing to train"))
    expected = sheet.weight_bytes + sheet.extra_bytes
    if weight_data is not None and not sheet.problems and len(weight_data) != expected:
        found = f"has {len(weight_data)} bytes where the weights' shapes need {expected}"
        problems.append(Problem(f"{path}.weightData", found))
    if problems or weight_data is None:
        raise InvalidTask(problems)
    data = memoryview(weight_data)
    flat = np.frombuffer(data[: sheet.weight_bytes], dtype=FLOAT32).astype(np.float32)
    weights = _checked(Weights.from_flat(flat, sheet.shapes), f"{path}.weightData")
    return weights, bytes(data[sheet.weight_bytes :])


def _checked(weights: Weights, path: str) -> Weights:
    try:
        weights.require_finite()
    except InvalidUpdate as error:
        raise InvalidTask([Problem(path, f"cannot be trained: {error}")]) from error
    return weights


#: Metadata of today's clients: the means and deviations with which a table's columns were standardized.
_METADATA = "tabularStandardization"


def _with_metadata(artifacts: dict[str, Any], rest: list[Any]) -> dict[str, Any]:
    """Keep a model's metadata in the place that TF.js has for it, so that files carry it too."""
    if not rest or not isinstance(rest[0], dict):
        return artifacts
    known = artifacts.get("userDefinedMetadata")
    return {**artifacts, "userDefinedMetadata": {**(known if isinstance(known, dict) else {}), **rest[0]}}


def _metadata(artifacts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    known = artifacts.get("userDefinedMetadata")
    if isinstance(known, dict) and _METADATA in known:
        yield {_METADATA: known[_METADATA]}
