"""How one generation of peers forms its rounds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from disco.core.decentralized.barrier import BarrierLimits


class Formation(StrEnum):
    """When the peers that are ready make a round.

    *First ready*: as soon as the minimum is reached, exactly those. *All joined*: when everybody who joined
    the round is ready, and they are enough. *All present*: when every peer is ready that is not fetching the
    model, and they are enough.
    """

    FIRST_READY = "first ready"
    ALL_JOINED = "all joined"
    ALL_PRESENT = "all present"


class Announcements(StrEnum):
    """What peers hear of the comings and goings of others.

    *Minimum*: when their number falls below the minimum and when it is reached again. *Counts*: that, and the
    number of peers at every other change.
    """

    NONE = "none"
    MINIMUM = "minimum"
    COUNTS = "counts"


@dataclass(frozen=True, slots=True)
class Policy:
    """What differs between generations of peers, and between tasks.

    Args:
        minimum: peers that make a round; at least 1.
        formation: when those who are ready make one.
        announcements: what they hear of others.
        barrier: limits of the phase in which the peers of a round connect before any of them shares; None
            when each shares as soon as it likes. Only with *all present*: else a second round could form
            while the first connects.
        syncs_models: whether a peer that comes while others train is sent to one of them for the model.
        max_peers: present at once.

    Raises:
        ValueError: a number is out of range, or a barrier comes with another formation.
    """

    minimum: int
    formation: Formation = Formation.FIRST_READY
    announcements: Announcements = Announcements.NONE
    barrier: BarrierLimits | None = None
    syncs_models: bool = False
    max_peers: int = 256

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.max_peers:
            raise ValueError(f"minimum must be from 1 to max_peers {self.max_peers}, not {self.minimum}")
        if self.barrier is not None and self.formation is not Formation.ALL_PRESENT:
            raise ValueError(f"a barrier needs rounds of all present, not of {self.formation}")

    @classmethod
    def first_ready(cls, minimum: int, *, max_peers: int = 256) -> Policy:
        """Rounds of exactly `minimum` peers, nothing announced (v2)."""
        return cls(minimum, max_peers=max_peers)

    @classmethod
    def all_joined(cls, minimum: int, *, max_peers: int = 256) -> Policy:
        """Rounds of all that joined them; peers hear when to wait and when to go on (v3)."""
        return cls(minimum, Formation.ALL_JOINED, Announcements.MINIMUM, max_peers=max_peers)

    @classmethod
    def all_present(
        cls, minimum: int, *, barrier: BarrierLimits | None = None, max_peers: int = 256
    ) -> Policy:
        """Rounds of everybody, connected before any shares; counts announced, models synced (v4)."""
        return cls(
            minimum,
            Formation.ALL_PRESENT,
            Announcements.COUNTS,
            barrier=barrier or BarrierLimits(),
            syncs_models=True,
            max_peers=max_peers,
        )
