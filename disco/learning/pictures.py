"""Examples from a folder of images, a folder a label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from disco.core.weights import Float32s
from disco.errors import SettingsError
from disco.learning.examples import Examples

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
#: Channels → Pillow's mode.
MODES = {1: "L", 3: "RGB"}
#: The preprocessing that divides by 255, as tasks of all generations name it.
NORMALIZE = "normalize"


def read_pictures(folder: Path, task: Mapping[str, Any], shape: Sequence[int]) -> Examples:
    """Read ``folder/LABEL/*.png`` and the like, resized to what the model takes.

    Values go in as they are stored, 0 to 255, divided by 255 if the task's preprocessing says *normalize*.

    Args:
        folder: has a folder for each label of the task; labels without one have no examples.
        task: its JSON document.
        shape: of one input of the model: height, width, channels.

    Raises:
        SettingsError: the folder has none of the task's labels, or others, or a file is no image; or Pillow is missing.
    """
    labels = [str(label) for label in task["trainingInformation"].get("LABEL_LIST", ())]
    if len(shape) != 3 or shape[2] not in MODES:
        raise SettingsError(f"the model's input is {list(shape)}, which is no image of 1 or 3 channels")
    found = list(_files(folder, labels))
    if not found:
        raise SettingsError(f"{folder} has no images; put them in a folder a label: {', '.join(labels)}")
    images = np.stack([_read(path, shape) for path, _ in found])
    normalized = NORMALIZE in task["trainingInformation"].get("preprocessingFunctions", ())
    targets = np.eye(len(labels), dtype=np.float32)[[label for _, label in found]]
    return Examples(images / np.float32(255) if normalized else images, targets)


def _files(folder: Path, labels: Sequence[str]) -> Iterator[tuple[Path, int]]:
    """Find each image, and the number of its label."""
    if not folder.is_dir():
        raise SettingsError(f"{folder} is not a folder; an image task needs one with a folder a label")
    for directory in sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    ):
        if directory.name not in labels:
            raise SettingsError(f"{directory} is no label of the task; it has {', '.join(labels)}")
        for path in sorted(directory.iterdir()):
            if path.suffix.lower() in SUFFIXES:
                yield path, labels.index(directory.name)


def _read(path: Path, shape: Sequence[int]) -> Float32s:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise SettingsError(
            "images are read with Pillow, which is not installed: pip install 'disco-server[sklearn]', or [torch]"
        ) from error
    height, width, channels = shape
    try:
        with Image.open(path) as image:
            resized = image.convert(MODES[channels]).resize((width, height), Image.Resampling.BILINEAR)
            return np.asarray(resized, dtype=np.float32).reshape(height, width, channels)
    except (OSError, UnidentifiedImageError) as error:
        raise SettingsError(f"{path} is not an image that can be read") from error
