"""Who gives the model to a peer that comes while others train."""

from __future__ import annotations

from collections.abc import Sequence

from disco.core.effects import Effect, Send
from disco.core.messages import ModelProvider, ModelWanted
from disco.core.names import ParticipantID


class ModelSync:
    """Newcomers that want the model, and who is to give it.

    The provider is the first peer, of those still here, that was connected in a round; failing that, the
    oldest peer that is not itself fetching. When a provider leaves, its newcomers are given another, now or
    as soon as there is one.
    """

    def __init__(self) -> None:
        self._trained: dict[ParticipantID, None] = {}
        self._providers: dict[ParticipantID, ParticipantID | None] = {}

    @property
    def training(self) -> bool:
        """Whether a peer is here that has been connected in a round, so that a newcomer is behind it."""
        return any(peer not in self._providers for peer in self._trained)

    def connect(self, peer: ParticipantID) -> None:
        """Note that a peer was connected in a round."""
        self._trained.setdefault(peer)

    def request(self, newcomer: ParticipantID) -> None:
        """Note that a peer wants the model, and so cannot give it; asked again, ask a provider again."""
        self._release(newcomer)
        self._providers[newcomer] = None

    def finish(self, newcomer: ParticipantID) -> None:
        """Note that a peer has the model, or goes on without."""
        self._providers.pop(newcomer, None)

    def leave(self, peer: ParticipantID) -> None:
        """Forget a peer; those whom it was to give the model wait for another."""
        self._trained.pop(peer, None)
        self._providers.pop(peer, None)
        self._release(peer)

    def assign(self, present: Sequence[ParticipantID]) -> list[Effect]:
        """Give every newcomer without a provider one, if there is one.

        Args:
            present: everybody, oldest first.
        """
        able = [peer for peer in present if peer not in self._providers]
        provider = next((peer for peer in self._trained if peer in able), able[0] if able else None)
        effects: list[Effect] = []
        for newcomer in [peer for peer, given in self._providers.items() if given is None]:
            if provider is not None:
                self._providers[newcomer] = provider
                effects += (
                    Send((newcomer,), ModelProvider(provider)),
                    Send((provider,), ModelWanted(newcomer)),
                )
        return effects

    def _release(self, provider: ParticipantID) -> None:
        for newcomer, given in self._providers.items():
            if given == provider:
                self._providers[newcomer] = None
