"""Every setting and every limit: TOML file < environment (``DISCO_…``) < flags.

A field ``x`` of a section ``s`` is ``[s] x = …`` in the file and ``DISCO_S_X`` in the environment; the fields at the
top level are ``x = …`` and ``DISCO_X``. The file is the one that ``DISCO_CONFIG`` or ``--config`` names.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, get_type_hints

from disco.errors import SettingsError
from disco.settings_sources import (
    convert,
    dotted_types,
    flatten,
    read_networks,
    read_toml,
    usable_memory_bytes,
)

MIB = 1024 * 1024
MANAGE_WORDS = ("auto", "open", "token")
DEED_WORDS = ("open", "token")
MEDIA = ("disk", "memory")
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


def bundled_tasks() -> Path:
    """Return the folder of the default tasks: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parent
    checkout = package.parent / "tasks"
    return checkout if checkout.is_dir() else package / "bundled_tasks"


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How rounds close.

    Args:
        interval: seconds after a round's first contribution when it closes with what it has, if that is the
            task's minimum. A task may say otherwise.
        retry: seconds before a round that could not be aggregated or stored is tried again.
    """

    interval: float = 30.0
    retry: float = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a stranger may send.

    Args:
        body_bytes: of an HTTP request.
        body_seconds: that the body of an HTTP request may take.
        message_bytes: of one WebSocket message in a federated session.
        message_seconds: that one WebSocket message may take from its first byte to its last.
        bytes_in_flight: of large messages that are being received or wait to be summed, and of HTTP bodies, over all
            connections. Beyond it they are not read until there is room. A quarter of the memory unless set.
        held_bytes: of contributions that one task's strategy, such as the median, holds in memory until its round
            closes. More are held in temporary files in `data_dir`. A quarter of the memory unless set.
        messages_per_second: of one connection in a federated session, on average; twice as many in a burst. More wait
            unread.
        signal_bytes: of one WebSocket message in a decentralized session.
        signals_per_second: messages of one peer, on average; twice as many in a burst.
        peers: present at once in one decentralized session.
        metadata_bytes: of one metadata value and its name.
        metadata_entries: kept for one task and round.
        connections: WebSockets open at once.
        connections_per_address: of them from one client address, or one /64 of IPv6, and a few more that are no
            WebSockets. Addresses of this machine are exempt: where a proxy is not told of, everybody comes from there.
        joins_per_second: new WebSockets from one client address, on average; five times as many in a burst. This
            machine's are exempt.
        first_message: seconds that a new connection may take to say hello.
        ping: seconds of silence after which a client is asked for a sign of life.
        pong: more seconds of silence after which it is given up. A page that trains answers nothing for a while.
        send: seconds that a reader may take to accept one message before it is let go.
        outbox_messages: waiting for one slow reader before it is let go.
        viewers: pages that watch the dashboard at once.
        evaluation: seconds that a task's scorer may take for one model; then its process is killed.
        evaluation_bytes: of memory that this process may use. A quarter of the memory unless set.
    """

    body_bytes: int = 512 * MIB
    body_seconds: float = 600.0
    message_bytes: int = 512 * MIB
    message_seconds: float = 600.0
    bytes_in_flight: int = field(default_factory=lambda: usable_memory_bytes() // 4)
    held_bytes: int = field(default_factory=lambda: usable_memory_bytes() // 4)
    messages_per_second: int = 5_000
    signal_bytes: int = MIB
    signals_per_second: int = 200
    peers: int = 256
    metadata_bytes: int = 64 * 1024
    metadata_entries: int = 1024
    connections: int = 16_384
    connections_per_address: int = 2_048
    joins_per_second: int = 100
    first_message: float = 60.0
    ping: float = 30.0
    pong: float = 120.0
    send: float = 60.0
    outbox_messages: int = 64
    viewers: int = 256
    evaluation: float = 60.0
    evaluation_bytes: int = field(default_factory=lambda: usable_memory_bytes() // 4)


@dataclass(frozen=True, slots=True)
class Storage:
    """What is kept, and where.

    Args:
        medium: *disk*, or *memory*: then tasks, rounds and pauses are gone when the server stops.
        keep_last: newest rounds kept of each task.
        keep_every: of the older ones, those whose number it divides are kept; round 0 always is.
    """

    medium: str = "disk"
    keep_last: int = 10
    keep_every: int = 100

    @property
    def durable(self) -> bool:
        """Whether what is kept outlives the server."""
        return self.medium == "disk"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what; see docs/operations.md.

    Args:
        manage: whether adding, changing and removing tasks needs an admin token: ``open``, ``token``, or ``auto``: open
            to this machine as long as the server listens to nobody else, and by token otherwise.
        join: whether joining needs a token: ``open`` (except for tasks that say so), or ``token``.
        read: whether listing tasks and reading models needs one: ``open`` (the models of tasks that need a token for
            joining excepted), or ``token``.
        trusted_proxies: addresses or networks of the proxies whose X-Forwarded-For is believed, separated by commas.
        jwt_key: a file with the public key (PEM) or keys (JWKS) of who issues JSON Web Tokens; None for nobody.
        jwt_audience: that a JWT must name; needed with `jwt_key`, as issuers serve others too.
        jwt_issuer: that a JWT must name; empty for any.
        jwt_role_claim: the claim that holds one of Disco's roles, or a list with one.
        ticket_seconds: that a ticket for one WebSocket is good for.
        recheck_seconds: after which an open WebSocket's token is looked at again; one that was revoked or has expired
            closes it.
    """

    manage: str = "auto"
    join: str = "open"
    read: str = "open"
    trusted_proxies: str = ""
    jwt_key: Path | None = None
    jwt_audience: str = ""
    jwt_issuer: str = ""
    jwt_role_claim: str = "disco_role"
    ticket_seconds: float = 30.0
    recheck_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates; without them the server speaks plain HTTP.

    Args:
        certfile: the server's certificate with its chain, PEM.
        keyfile: its private key, PEM.
        ca_certs: certificates of the authorities of clients, PEM: then every client needs a certificate.
    """

    certfile: Path | None = None
    keyfile: Path | None = None
    ca_certs: Path | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator can set.

    Args:
        host: address to bind.
        port: TCP port to bind; 0 picks a free one.
        data_dir: where tasks, rounds and models are kept.
        tasks_dir: a folder of task folders to serve.
        log_level: one of debug, info, warning, error, critical.
        cors_origins: of which other sites pages may read answers and open WebSockets: ``*``, or origins separated by
            commas.
        graceful: seconds that stopping may take.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    data_dir: Path = Path("disco-data")
    tasks_dir: Path = field(default_factory=bundled_tasks)
    log_level: str = "info"
    cors_origins: str = "*"
    graceful: float = 10.0
    aggregation: Aggregation = field(default_factory=Aggregation)
    storage: Storage = field(default_factory=Storage)
    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)
    tls: Tls = field(default_factory=Tls)

    @classmethod
    def load(
        cls,
        flags: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        config: Path | None = None,
    ) -> Settings:
        """Read the file, the environment and `flags` (dotted names; None means not given), and validate.

        Raises:
            SettingsError: one sentence that names the setting, where it was set, and what it may be.
        """
        environ = os.environ if environ is None else environ
        config = config or (Path(environ["DISCO_CONFIG"]) if environ.get("DISCO_CONFIG") else None)
        values: dict[str, tuple[Any, str]] = {}
        if config is not None:
            for name, value in flatten(read_toml(config)).items():
                values[name] = (value, f"{name} in {config}")
        for name in dotted_types(cls):
            variable = "DISCO_" + name.replace(".", "_").upper()
            if variable in environ:
                values[name] = (environ[variable], variable)
        for name, value in (flags or {}).items():
            if value is not None:
                values[name] = (value, "--" + name.replace(".", "-").replace("_", "-"))
        return cls._build(values)

    @classmethod
    def _build(cls, values: Mapping[str, tuple[Any, str]]) -> Settings:
        types = dotted_types(cls)
        top: dict[str, Any] = {}
        sections: dict[str, dict[str, Any]] = {}
        for name, (raw, where) in values.items():
            if name not in types:
                raise SettingsError(f"{where} is not a setting of Disco")
            value = convert(raw, types[name], where)
            section, _, leaf = name.rpartition(".")
            (sections.setdefault(section, {}) if section else top)[leaf] = value
        hints = get_type_hints(cls)
        settings = cls(**top, **{section: hints[section](**given) for section, given in sections.items()})
        settings.validate({name: where for name, (_, where) in values.items()})
        return settings

    def validate(self, where: Mapping[str, str] | None = None) -> None:
        """Check ranges.

        Raises:
            SettingsError: a value is out of range.
        """

        def require(name: str, holds: bool, rule: str) -> None:
            if not holds:
                given = self
                for part in name.split("."):
                    given = getattr(given, part)
                raise SettingsError(f"{(where or {}).get(name, name)} must be {rule}, not {given}")

        require("port", 0 <= self.port <= 65535, "a TCP port from 0 to 65535")
        require("host", bool(self.host), "an address")
        require("log_level", self.log_level in LOG_LEVELS, f"one of {', '.join(LOG_LEVELS)}")
        require("graceful", 0 <= self.graceful < math.inf, "at least 0 seconds")
        for section in ("aggregation", "storage", "limits"):
            for name, value in dataclasses.asdict(getattr(self, section)).items():
                require(f"{section}.{name}", isinstance(value, str) or 0 < value < math.inf, "above 0")
        require("storage.medium", self.storage.medium in MEDIA, f"one of {', '.join(MEDIA)}")
        access, tls = self.access, self.tls
        require("access.manage", access.manage in MANAGE_WORDS, f"one of {', '.join(MANAGE_WORDS)}")
        require("access.join", access.join in DEED_WORDS, f"one of {', '.join(DEED_WORDS)}")
        require("access.read", access.read in DEED_WORDS, f"one of {', '.join(DEED_WORDS)}")
        require("access.ticket_seconds", 0 < access.ticket_seconds < math.inf, "above 0")
        require("access.recheck_seconds", 0 < access.recheck_seconds < math.inf, "above 0")
        audience = bool(access.jwt_audience) or access.jwt_key is None
        require("access.jwt_audience", audience, "what JWTs for this server name, as access.jwt_key is set")
        networks = read_networks(access.trusted_proxies) is not None
        require("access.trusted_proxies", networks, "addresses or networks separated by commas")
        require("tls.keyfile", (tls.certfile is None) == (tls.keyfile is None), "given with tls.certfile")
        served = tls.ca_certs is None or tls.certfile is not None
        require("tls.ca_certs", served, "given together with tls.certfile")

    @property
    def trusted_proxies(self) -> tuple[Network, ...]:
        """The networks of the proxies whose X-Forwarded-For is believed."""
        return read_networks(self.access.trusted_proxies) or ()

    @property
    def origins(self) -> frozenset[str]:
        """The sites in `cors_origins`; ``*`` among them is every site."""
        return frozenset(filter(None, map(str.strip, self.cors_origins.split(","))))
