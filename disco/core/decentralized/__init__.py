"""The decentralized scheme: who is present, who is ready, who is introduced to whom.

The hub never sees an update. `DecentralizedSession` decides, one event at a time, which peers make a round;
`Policy` says how, because the generations of clients differ in little else.
"""

from disco.core.decentralized.barrier import Barrier, BarrierLimits
from disco.core.decentralized.policy import Announcements, Formation, Policy
from disco.core.decentralized.session import DecentralizedSession
from disco.core.decentralized.sync import ModelSync

__all__ = [
    "Announcements",
    "Barrier",
    "BarrierLimits",
    "DecentralizedSession",
    "Formation",
    "ModelSync",
    "Policy",
]
