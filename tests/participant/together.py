"""Several participants in one round."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import trio

from disco.core.weights import Float32s
from disco.participant import Participant


def filled(participant: Participant, value: float) -> list[Float32s]:
    """Arrays of the model's shapes, every element the same."""
    return [np.full_like(tensor, value) for tensor in participant.weights]


async def contribute(participant: Participant, value: float) -> list[Float32s]:
    """Exchange weights that are all the same value."""
    return await participant.exchange(filled(participant, value))


async def exchange_together(values: Mapping[Participant, float]) -> list[list[Float32s]]:
    """Let everybody contribute to one round; the results in the order of `values`."""
    models: dict[Participant, list[Float32s]] = {}

    async def run(participant: Participant, value: float) -> None:
        models[participant] = await contribute(participant, value)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for participant, value in values.items():
                nursery.start_soon(run, participant, value)
    return [models[participant] for participant in values]
