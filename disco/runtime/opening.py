"""Opens sessions: joins rules and limits, stored rounds, strategy and coordinator."""

from __future__ import annotations

import logging
import math

from disco.core.aggregation.recipe import Recipe
from disco.core.aggregation.registry import made_from, recipe_of
from disco.core.aggregation.strategy import Strategy
from disco.core.decentralized import BarrierLimits, DecentralizedSession, Policy
from disco.core.events import Scheme
from disco.core.federated import FederatedSession, RoundRules
from disco.core.metadata import Noticeboard
from disco.core.model import Model
from disco.core.task import Task
from disco.metrics import Metrics
from disco.runtime.coordinator import Coordinator
from disco.runtime.keeper import Keeper
from disco.runtime.training import Training
from disco.settings import Settings
from disco.storage.spill import SpillingSpace

log = logging.getLogger("disco.runtime")

#: The group of a federated task: participants of all dialects train in one session.
EVERYBODY = "everybody"


async def open_training(
    task: Task, model: Model, keeper: Keeper, settings: Settings, metrics: Metrics
) -> tuple[Coordinator[FederatedSession], Training]:
    """Prepare a task's federated session at its latest round on disk.

    Raises:
        StorageError: the round cannot be read.
    """
    limits = settings.limits
    recipe = recipe_of(task)
    noticeboard = Noticeboard(limits.metadata_entries, limits.metadata_bytes)
    session = FederatedSession(task.id, _rules(task, recipe, settings), model.weights, noticeboard)
    record, weights, (rounds, contributions) = await keeper.latest(task.id)
    session.resume(record.number, weights, rounds, contributions, await keeper.counted(task.id))
    strategy = made_from(recipe, SpillingSpace(settings.data_dir, limits.held_bytes))
    await _restore(strategy, task, session, keeper)
    training = Training(task.id, strategy, keeper, model.weights)
    training.max_norm = math.inf if task.max_norm is None else task.max_norm
    training.begin(weights, record.number, record.closed_at)
    coordinator = Coordinator[FederatedSession](
        task.id, lambda _: session, training, metrics, group_of=lambda _: EVERYBODY
    )
    coordinator.sessions[EVERYBODY] = session
    return coordinator, training


def _rules(task: Task, recipe: Recipe, settings: Settings) -> RoundRules:
    buffer = recipe.buffer
    return RoundRules(
        minimum=task.minimum_participants[Scheme.FEDERATED],
        interval=task.interval or settings.aggregation.interval,
        retry=settings.aggregation.retry,
        reset_when_empty=task.reset_when_empty,
        buffer=None if buffer is None else int(buffer["size"]),
        max_staleness=0 if buffer is None else int(buffer["maxStaleness"]),
    )


async def _restore(strategy: Strategy, task: Task, session: FederatedSession, keeper: Keeper) -> None:
    """Give a strategy back what it remembered, and the models that stale contributions may have begun with."""
    state = await keeper.latest_state(task.id)
    if not strategy.restore(state, session.weights.parameters) and session.round:
        log.warning(
            "task=%s round=%s the strategy has nothing to go on from, and begins anew", task.id, session.round
        )
    oldest = session.round - session.max_staleness
    for kept in await keeper.rounds(task.id) if session.max_staleness else ():
        if oldest <= kept.number < session.round:
            strategy.begin(await keeper.round_weights(task.id, kept.number), kept.number)


def open_hub(task: Task, settings: Settings, metrics: Metrics) -> Coordinator[DecentralizedSession]:
    """Prepare a task's decentralized sessions: one for each dialect, as their peers cannot talk to each other."""

    def open_session(dialect: str) -> DecentralizedSession:
        return DecentralizedSession(policy_for(dialect, task, settings))

    return Coordinator[DecentralizedSession](
        task.id, open_session, None, metrics, group_of=lambda dialect: dialect.NAME
    )


def policy_for(dialect: str, task: Task, settings: Settings) -> Policy:
    """Tell how the peers of one dialect form their rounds of a task."""
    minimum = task.minimum_participants[Scheme.DECENTRALIZED]
    most = max(settings.limits.peers, minimum)
    if dialect == "v2":
        return Policy.first_ready(minimum, max_peers=most)
    if dialect == "v3":
        return Policy.all_joined(minimum, max_peers=most)
    wishes = task.document.get("trainingInformation", {})
    barrier = BarrierLimits(
        max_connection_seconds=wishes.get("maxPeerConnectionTime", 60_000) / 1000,
        max_retries=wishes.get("maxConnectionRetry", 3),
    )
    return Policy.all_present(minimum, barrier=barrier, max_peers=most)
