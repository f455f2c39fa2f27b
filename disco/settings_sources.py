"""Where settings come from: a TOML file's values, text as the types that settings have, and the machine's memory."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

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


def dotted_types(settings: type) -> dict[str, type]:
    """Map the dotted name of every field of a dataclass, and of the dataclasses in it, to its type."""
    types: dict[str, type] = {}
    for name, hint in get_type_hints(settings).items():
        if dataclasses.is_dataclass(hint):
            types.update({f"{name}.{leaf}": kind for leaf, kind in get_type_hints(hint).items()})
        else:
            types[name] = hint
    return types


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


def usable_memory_bytes() -> int:
    """Return the machine's memory, or what its container may use of it (cgroup v2, memory.max)."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        allowed = int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no such group, or "max"
        return memory
    return min(memory, allowed)


def read_networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] | None:
    """Read addresses and networks, separated by commas; None if one is neither."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        return None
