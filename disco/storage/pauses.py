"""Which tasks an admin has paused, kept beside the store so that a restart changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from disco.errors import StorageError
from disco.storage.files import replacing

FILE = "paused.json"


def read_paused(data_dir: Path | None) -> frozenset[str]:
    """Return the IDs of the paused tasks; none where nothing is kept.

    Raises:
        StorageError: the file is there and cannot be read.
    """
    if data_dir is None:
        return frozenset()
    path = data_dir / FILE
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, list) or not all(isinstance(task, str) for task in found):
        raise StorageError(f"{path} must hold a JSON list of task IDs")
    return frozenset(found)


def write_paused(data_dir: Path | None, tasks: Iterable[str]) -> None:
    """Replace the list, durably, whole or not at all; do nothing where nothing is kept.

    Raises:
        StorageError: the disk refused.
    """
    if data_dir is None:
        return
    with replacing(data_dir / FILE) as file:
        file.write(json.dumps(sorted(tasks)).encode())
