"""When masked rounds go on."""

from __future__ import annotations

from dataclasses import dataclass

from disco.core.masking.terms import Terms


@dataclass(frozen=True, slots=True)
class MaskedRules:
    """When masked rounds go on.

    Args:
        minimum: members that make a round, at least 2.
        interval: seconds after a round's first keys when it goes on with those who have advertised.
        retry: seconds before a round that could not be stored is tried again.
        terms: the task's.
        reset_when_empty: whether the training starts anew when the last participant leaves.
    """

    minimum: int
    interval: float
    retry: float
    terms: Terms
    reset_when_empty: bool = False
