"""Federated training: who is present, what they contributed, and when a round closes.

`FederatedSession` decides; `Seats` knows who is present and who waits, `Contributions` what counts in the open round
and what counted before.
"""

from disco.core.federated.contributions import REMEMBERED_ROUNDS, Contributions
from disco.core.federated.rules import RoundRules
from disco.core.federated.seats import Seats
from disco.core.federated.session import FederatedSession

__all__ = ["REMEMBERED_ROUNDS", "Contributions", "FederatedSession", "RoundRules", "Seats"]
