"""How much privacy rounds spend: Rényi accounting, by Google's dp-accounting.

What rounds with the Gaussian mechanism spend adds up in one number. With noise multipliers zₜ, the mechanism of round
t has the Rényi divergence α / (2 zₜ²) at every order α, and divergences of rounds add up, whatever each round made of
the ones before. So all rounds together spend what one does whose noise multiplier is 1 / √(Σ 1/zₜ²): Σ 1/zₜ² is all
that has to be remembered, and tells ε for any δ.

dp-accounting is an extra, ``disco-server[privacy]``, and takes a second to import: it is imported when it is needed.

Source: Mironov 2017 (arXiv 1702.07476), propositions 1 and 3 and corollary 3; Mironov, Talwar and Zhang 2019
(arXiv 1908.10530) where participants are sampled; Canonne, Kamath and Steinke 2020 (arXiv 2004.00010), from Rényi
divergences to ε, as dp-accounting does it.
"""

from __future__ import annotations

import math
from importlib.util import find_spec

from disco.errors import SettingsError

#: What to do where there is no accountant.
NEEDS_EXTRA = "needs dp-accounting to account for it: pip install 'disco-server[privacy]'"


def can_account() -> bool:
    """Tell whether dp-accounting is installed."""
    return find_spec("dp_accounting") is not None


def cost(noise_multiplier: float) -> float:
    """Return what one round spends: 1/z², dimensionless; costs of rounds add up."""
    return 1.0 / (noise_multiplier * noise_multiplier)


def epsilon_of(spent: float, delta: float) -> float:
    """Return ε for what rounds have spent together, every participant having taken part in every round.

    Args:
        spent: Σ 1/zₜ², from 0 up.
        delta: δ, between 0 and 1.

    Raises:
        SettingsError: dp-accounting is not installed.
    """
    return 0.0 if spent == 0.0 else epsilon(1.0 / math.sqrt(spent), 1, delta)


def epsilon(noise_multiplier: float, rounds: int, delta: float, sampling: float = 1.0) -> float:
    """Return ε of rounds of the Gaussian mechanism.

    Args:
        noise_multiplier: z, the noise's deviation over the most that one participant changes the sum by, above 0.
        rounds: how many, from 1 up.
        delta: δ, between 0 and 1.
        sampling: q, above 0: the probability with which each participant is in a round, drawn anew for every round
            and kept secret. Disco draws nobody, so its own rounds are accounted with 1.

    Raises:
        SettingsError: dp-accounting is not installed.
    """
    try:
        import dp_accounting as dp  # type: ignore[import-untyped]  # it has no types of its own
    except ImportError as error:
        raise SettingsError(f"differential privacy {NEEDS_EXTRA}") from error
    accountant = dp.rdp.RdpAccountant(neighboring_relation=dp.NeighboringRelation.REPLACE_SPECIAL)
    event = dp.GaussianDpEvent(noise_multiplier)
    accountant.compose(event if sampling == 1.0 else dp.PoissonSampledDpEvent(sampling, event), rounds)
    return float(accountant.get_epsilon(delta))
