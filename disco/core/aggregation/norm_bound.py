"""A bound on how far one contribution may be from the global model."""

from __future__ import annotations

import math

from disco.core.aggregation.changes import distance
from disco.core.weights import Weights
from disco.errors import InvalidUpdate


def require_norm(update: Weights, current: Weights, limit: float) -> None:
    """Refuse what is further from the current model than a task allows, where `NormClipping` would pull it closer.

    Args:
        update: of the current model's structure.
        current: the global model now, also for an update that began with an older one.
        limit: the largest ‖update - current‖, an L2 norm over all parameters; inf for any.

    Raises:
        InvalidUpdate: the structure differs, or it is further.
    """
    if limit == math.inf:
        return
    update.require_structure(current.shapes)
    norm = distance(update, current.flat)
    if math.isnan(norm):
        update.require_finite()
    if not norm <= limit:
        raise InvalidUpdate(
            f"weights is {norm:.6g} from the global model, over aggregation.maxNorm, {limit:g}"
        )
