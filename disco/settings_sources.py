"""Where settings come from: a TOML file's values and text, as the types that settings have."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from disco.errors import SettingsError


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a document's values by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def read_toml(config: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        SettingsError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(config.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{config} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{config} is not TOML: {error}") from error


def convert(raw: Any, kind: Any, where: str) -> Any:
    """Return a value as a setting of this type, from text or from TOML's own types.

    Raises:
        SettingsError: it is none; the message begins with `where`.
    """
    if kind == Path | None:
        return None if raw == "" else convert(raw, Path, where)
    wanted = {int: "a whole number", float: "a number", Path: "a path", str: "text"}[kind]
    if isinstance(raw, bool) or (kind is str and not isinstance(raw, str)):
        raise SettingsError(f"{where} must be {wanted}, not {raw!r}")
    try:
        return kind(raw) if not (kind is int and isinstance(raw, float)) else kind(str(raw))
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{where} must be {wanted}, not {raw!r}") from error
