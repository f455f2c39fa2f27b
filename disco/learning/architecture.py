"""A TF.js layers model's architecture, as far as other frameworks need it to do the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from disco.core.model import Model, ModelKind
from disco.errors import SettingsError

#: Layers that change nothing once a batch is there.
TRANSPARENT = frozenset({"InputLayer"})


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a sequential model.

    Args:
        kind: its Keras class: ``Dense``, ``Conv2D``, …
        activation: ``linear`` if it has none.
        config: the rest, in Keras' words.
    """

    kind: str
    activation: str
    config: Mapping[str, Any]

    @property
    def tensors(self) -> int:
        """How many of the model's tensors are this layer's: its kernel and its bias."""
        return 1 + bool(self.config.get("use_bias", True)) if self.kind in ("Dense", "Conv2D") else 0


@dataclass(frozen=True, slots=True)
class Architecture:
    """A sequential model.

    Args:
        layers: in order; without the input layer.
        input_shape: of one example.
    """

    layers: Sequence[Layer]
    input_shape: tuple[int, ...]

    @property
    def activation(self) -> str:
        """The last layer's, which says what the outputs are."""
        return self.layers[-1].activation

    @property
    def is_dense(self) -> bool:
        """Whether it is nothing but dense layers, on a flat or flattened input."""
        return all(layer.kind in ("Dense", "Flatten", "Dropout") for layer in self.layers)

    @classmethod
    def of(cls, model: Model) -> Architecture:
        """Read a model's architecture.

        Raises:
            SettingsError: it is no sequential TF.js model with one input.
        """
        topology = model.artifacts.get("modelTopology") if model.kind is ModelKind.TFJS else None
        try:
            # Keras writes the topology bare, or under model_config with the optimizer beside it.
            inner = topology.get("model_config", topology)  # type: ignore[union-attr]  # AttributeError is caught
            if inner["class_name"] != "Sequential":
                raise SettingsError(
                    f"the model is {inner['class_name']}, and only sequential ones can be trained here; "
                    "write a participant of your own: docs/participants.md"
                )
            config = inner["config"]
            entries = config if isinstance(config, list) else config["layers"]
            shape = tuple(entries[0]["config"]["batch_input_shape"][1:])
            layers = [_layer(entry) for entry in entries if entry["class_name"] not in TRANSPARENT]
        except (LookupError, TypeError, AttributeError) as error:
            raise SettingsError(
                "the task's model says nothing of its layers, and cannot be trained here"
            ) from error
        if sum(layer.tensors for layer in layers) != len(model.structure) or not layers:
            unknown = sorted({layer.kind for layer in layers if not layer.tensors} or {"none"})
            raise SettingsError(
                f"the model has weights in layers that cannot be trained here: {', '.join(unknown)}"
            )
        return cls(tuple(layers), shape)


def _layer(entry: Mapping[str, Any]) -> Layer:
    config = dict(entry["config"])
    return Layer(str(entry["class_name"]), str(config.get("activation") or "linear"), config)
