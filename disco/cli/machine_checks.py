"""What ``disco doctor`` looks at on this machine: versions, limits, the data directory, the port, the tasks."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import resource
import shutil
import socket
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from disco.cli.findings import Finding, fine, mebibytes, warning, wrong
from disco.errors import DataDirectoryInUse, DiscoError, StorageError
from disco.settings import MIB, Settings
from disco.settings_sources import usable_memory_bytes
from disco.storage.catalogue import load_folder
from disco.storage.lock import NAME as LOCK_FILE
from disco.storage.lock import DirectoryLock
from disco.web.answers import disco_version
from disco.web.hypercorn_seam import moved_names

#: Each participant costs one file descriptor; a class of browsers opens several hundred.
FEW_DESCRIPTORS, ENOUGH_DESCRIPTORS = 256, 4096
LITTLE_ROOM_BYTES, ENOUGH_ROOM_BYTES = 100 * MIB, 1024 * MIB
#: File systems on which file locks or fsync are not what a database needs.
REMOTE_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.glusterfs", "ceph"}
)
#: File systems that are gone after a restart.
FORGETFUL_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs", "overlay"})
#: Seconds that a program on our port may take to say whether it is Disco.
PATIENCE_SECONDS = 2.0


def check_machine(settings: Settings) -> Iterator[Finding]:
    """Look at everything that needs no other machine."""
    checks: Sequence[Callable[[Settings], Finding]] = (
        check_versions,
        check_descriptors,
        check_memory,
        check_directory,
        check_room,
        check_holder,
        check_port,
        check_tasks,
    )
    for check in checks:
        yield check(settings)


def check_versions(settings: Settings) -> Finding:
    """Tell which versions run, and whether hypercorn's inner names are where Disco's fast WebSockets need them."""
    found = ", ".join(f"{name} {_version(name)}" for name in ("hypercorn", "quart", "quart-trio", "trio"))
    detail = f"Disco {disco_version()} on Python {platform.python_version()} with {found}"
    moved = moved_names()
    if moved:
        advice = "install the versions that this Disco asks for: pip install --force-reinstall disco-server"
        return warning("versions", f"{detail}; WebSockets take the slow path, as {moved[0]}", advice)
    return fine("versions", detail)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def check_descriptors(settings: Settings) -> Finding:
    """Compare the limit of open files with the number of participants that it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return fine("open files", "no limit")
    detail = f"at most {soft} open files, one for each participant"
    limit = "unlimited" if hard == resource.RLIM_INFINITY else hard
    advice = f"`ulimit -n 65536` before the start (the hard limit is {limit}), or LimitNOFILE=65536 in a systemd unit"
    if soft < FEW_DESCRIPTORS:
        return wrong("open files", detail, advice)
    return fine("open files", detail) if soft >= ENOUGH_DESCRIPTORS else warning("open files", detail, advice)


def check_memory(settings: Settings) -> Finding:
    """Compare the bytes that may be in flight with the memory there is."""
    usable, flying = usable_memory_bytes(), settings.limits.bytes_in_flight
    detail = f"{mebibytes(flying)} of updates may be in flight, of {mebibytes(usable)} of memory"
    if flying > usable:
        advice = f"set limits.bytes_in_flight to at most {usable // 2}, half of the memory"
        return wrong("memory", detail, advice)
    if flying > usable // 2:
        return warning(
            "memory", detail, f"set limits.bytes_in_flight to at most {usable // 2}, half of the memory"
        )
    return fine("memory", detail)


def check_directory(settings: Settings) -> Finding:
    """Try to write where the data goes, and name the file system."""
    directory = settings.data_dir.absolute()
    present = _existing(directory)
    advice = f"give it to the user that runs Disco ({_user()}), or choose another with --data-dir"
    if not present.is_dir():
        return wrong("data directory", f"{present} is not a directory", "choose another with --data-dir")
    try:
        with tempfile.NamedTemporaryFile(dir=present) as file:
            file.write(b"disco doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return wrong("data directory", f"{present} cannot be written: {error.strerror}", advice)
    kind = file_system(present)
    detail = f"{directory} is writable, on {kind}" + ("" if present == directory else "; it will be made")
    if kind in REMOTE_FILE_SYSTEMS:
        return warning(
            "data directory", detail, "use a local disk: locks and fsync over a network cannot be relied on"
        )
    if kind in FORGETFUL_FILE_SYSTEMS:
        return warning(
            "data directory", detail, f"mount a volume there: {kind} forgets everything when it goes"
        )
    return fine("data directory", detail)


def check_room(settings: Settings) -> Finding:
    """Tell how much room the data directory has."""
    free = shutil.disk_usage(_existing(settings.data_dir.absolute())).free
    detail = f"{mebibytes(free)} free; {settings.storage.keep_last} rounds are kept of each task"
    advice = "make room, or keep fewer rounds with storage.keep_last and storage.keep_every"
    if free < LITTLE_ROOM_BYTES:
        return wrong("room on disk", detail, advice)
    return (
        fine("room on disk", detail) if free >= ENOUGH_ROOM_BYTES else warning("room on disk", detail, advice)
    )


def check_holder(settings: Settings) -> Finding:
    """Tell whether a server runs on this data directory."""
    directory = settings.data_dir.absolute()
    if not (directory / LOCK_FILE).exists():
        return fine("running server", "no server has used this data directory yet")
    try:
        DirectoryLock(directory).release()
    except DataDirectoryInUse as error:
        found = re.search(r"in use by (.*?);", str(error))
        return fine("running server", f"the data directory is held by {found[1] if found else 'a server'}")
    except StorageError as error:
        return wrong("running server", str(error), f"let the user that runs Disco ({_user()}) write there")
    return fine("running server", "none holds the data directory")


def check_port(settings: Settings) -> Finding:
    """Try to bind the port; where something has it, find out whether that is Disco."""
    host, port = settings.host, settings.port
    if port == 0:
        return fine("port", "the system picks a free one")
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return _bound(settings, error)
    return fine("port", f"{host} port {port} is free")


def _bound(settings: Settings, error: OSError) -> Finding:
    """Say why the port cannot be bound."""
    host, port = settings.host, settings.port
    if error.errno == errno.EADDRINUSE:
        name = _whose(host, port)
        if name is not None:
            return fine("port", f"{host} port {port} is held by a Disco server, version {name}")
        return wrong(
            "port",
            f"{host} port {port} is held by a program that is not Disco",
            f"stop it (`ss -ltnp sport = :{port}` names it), or choose another with --port",
        )
    if error.errno == errno.EACCES:
        advice = "choose one from 1024 up, or AmbientCapabilities=CAP_NET_BIND_SERVICE in a systemd unit"
        return wrong("port", f"{host} port {port} needs a privilege", advice)
    return wrong(
        "port", f"{host} port {port} cannot be bound: {error.strerror}", "choose another address with --host"
    )


def _whose(host: str, port: int) -> str | None:
    """Return the version of the Disco server at this address; None if it is no Disco server."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        asked = urllib.request.Request(f"http://{name}:{port}/", headers={"Accept": "application/json"})
        with opener.open(asked, timeout=PATIENCE_SECONDS) as answer:
            document: Any = json.load(answer)
    except (OSError, ValueError):
        return None
    is_disco = isinstance(document, dict) and document.get("name") == "Disco"
    return str(document.get("version", "unknown")) if is_disco else None


def check_tasks(settings: Settings) -> Finding:
    """Read the folder of tasks."""
    try:
        found = load_folder(settings.tasks_dir)
    except DiscoError as error:
        return wrong("tasks", str(error), "name a folder of task folders with --tasks-dir")
    detail = f"{len(found.tasks)} in {settings.tasks_dir}"
    if found.broken:
        broken = "; ".join(f"{name}: {problem}" for name, problem in found.broken)
        return wrong(
            "tasks",
            f"{detail}, and {len(found.broken)} broken: {broken}",
            "correct them: `disco tasks check`",
        )
    if not found.tasks:
        return warning("tasks", detail, "name a folder of task folders with --tasks-dir, or POST tasks")
    return fine("tasks", detail)


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the type of the file system that holds `path`; *unknown* where the system does not say."""
    try:
        lines = mounts.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return "unknown"
    resolved, best, kind = path.resolve(), Path(), "unknown"
    for line in lines:
        _, point, found, *_ = line.split(" ")
        where = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point))
        if resolved.is_relative_to(where) and len(where.parts) >= len(best.parts):
            best, kind = where, found
    return kind


def _existing(path: Path) -> Path:
    """Return the path itself, or its closest ancestor that exists."""
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())


def _user() -> str:
    return os.environ.get("USER") or f"user {os.getuid()}"
