"""WebRTC for Trio programs: where data channels come from.

aiortc is written for asyncio. Its code runs in a trio-asyncio loop that `open_webrtc` keeps for the length of a
block; nothing above this module and `channel` sees asyncio.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
import trio_asyncio
from aiortc import RTCConfiguration, RTCIceServer

from disco.errors import SettingsError
from disco.participant.channel import DataChannel, SendSignal

#: RFC 7064 and RFC 7065.
_ICE_URL = re.compile(r"(stun|turns?):[^/?]+", re.IGNORECASE)

logger = logging.getLogger("disco.participant")


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server by which peers behind different routers find each other.

    Args:
        urls: as in browsers: ``stun:host:port``, ``turn:host:port?transport=tcp``.
        username: for TURN.
        credential: for TURN.
    """

    urls: str | Sequence[str]
    username: str | None = None
    credential: str | None = field(default=None, repr=False)


class WebRTC:
    """Makes data channels; from `open_webrtc`."""

    def __init__(
        self, loop: trio_asyncio.TrioEventLoop, nursery: trio.Nursery, configuration: RTCConfiguration
    ) -> None:
        self._loop = loop
        self._nursery = nursery
        self._configuration = configuration

    def open_channel(self, *, initiator: bool, chunk_bytes: int, send_signal: SendSignal) -> DataChannel:
        """Begin a channel to one peer; whoever begins it closes it.

        Args:
            initiator: whether we make the offer.
            chunk_bytes: most bytes of a chunk; less if the other peer's description says so.
            send_signal: carries a signal to the other peer.
        """
        channel = DataChannel(self._loop, self._configuration, chunk_bytes)
        self._nursery.start_soon(channel.run, initiator, send_signal)
        return channel


def ice_configuration(ice_servers: Sequence[IceServer | str] = ()) -> RTCConfiguration:
    """Put STUN and TURN servers into aiortc's form.

    Args:
        ice_servers: none finds peers on the same machine or network only.

    Raises:
        SettingsError: a URL is of another kind.
    """
    servers = []
    for given in ice_servers:
        server = IceServer(given) if isinstance(given, str) else given
        urls = [server.urls] if isinstance(server.urls, str) else list(server.urls)
        for url in urls:
            if not _ICE_URL.match(url):
                raise SettingsError(f"an ICE server is like stun:host:3478 or turn:host:3478, not {url}")
        servers.append(RTCIceServer(urls=urls, username=server.username, credential=server.credential))
    # No servers must be said: left out, aiortc would ask a public one.
    return RTCConfiguration(iceServers=servers)


@asynccontextmanager
async def open_webrtc(configuration: RTCConfiguration) -> AsyncIterator[WebRTC]:
    """Run asyncio under Trio for as long as channels are needed.

    Args:
        configuration: from `ice_configuration`.
    """
    async with trio_asyncio.open_loop() as loop, trio.open_nursery() as nursery:
        # aiortc's background tasks fail when a peer disappears; the connection's state says so too.
        loop.set_exception_handler(
            lambda _, context: logger.debug("asyncio: %s", context.get("exception") or context["message"])
        )
        yield WebRTC(loop, nursery, configuration)
        nursery.cancel_scope.cancel()
