"""What a figure is: a finite number under a short printable name."""

from __future__ import annotations

import math
from collections.abc import Mapping

from disco.errors import InvalidFigures

#: What the names of a scorer's figures begin with, and those of what participants report.
EVALUATION, PARTICIPANTS = "evaluation.", "participants."

#: Figures of one sender for one round, and letters of a name without what it begins with.
MOST_FIGURES, LONGEST_NAME = 64, 64


def require_figures(figures: Mapping[str, float], source: str) -> None:
    """Check what somebody calls figures.

    Args:
        figures: by name.
        source: what they are called in messages.

    Raises:
        InvalidFigures: there are too many, or one is no figure.
    """
    if len(figures) > MOST_FIGURES:
        raise InvalidFigures(f"{source} has {len(figures)} figures, and at most {MOST_FIGURES} are kept")
    for name, figure in figures.items():
        if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
            raise InvalidFigures(
                f"{source} has a name that is not 1 to {LONGEST_NAME} printable letters: {name!r:.80}"
            )
        if not math.isfinite(figure):
            raise InvalidFigures(f"{source}[{name!r}] is {figure}, which is not finite")
