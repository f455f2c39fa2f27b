"""Opens sessions: joins rules and limits, stored rounds, strategy and coordinator."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, TypeAlias

from disco.core.aggregation.recipe import Recipe
from disco.core.aggregation.registry import made_from, recipe_of
from disco.core.aggregation.strategy import Strategy
from disco.core.decentralized import BarrierLimits, DecentralizedSession, Policy
from disco.core.federated import FederatedSession, RoundRules
from disco.core.masking.rules import MaskedRules
from disco.core.masking.terms import Terms
from disco.core.metadata import Noticeboard
from disco.core.model import Model
from disco.core.names import Scheme
from disco.core.task import Task
from disco.metrics import Metrics
from disco.runtime.coordinator import Coordinator
from disco.runtime.judging import Judge
from disco.runtime.keeper import Keeper
from disco.runtime.letters import Performer
from disco.runtime.training import Training
from disco.settings import Settings
from disco.storage.spill import SpillingSpace

if TYPE_CHECKING:  # masks need the package cryptography
    from disco.core.masking.session import MaskedSession

log = logging.getLogger("disco.runtime")

#: A session of federated training, in which the server reads contributions or not.
TrainingSession: TypeAlias = "FederatedSession | MaskedSession"

#: The group of a federated task: participants of all its dialects train in one session.
EVERYBODY = "everybody"


async def open_training(
    task: Task, model: Model, keeper: Keeper, settings: Settings, metrics: Metrics
) -> tuple[Coordinator[TrainingSession], Training]:
    """Prepare a task's federated session at its latest round on disk.

    Raises:
        StorageError: the round cannot be read.
    """
    recipe = recipe_of(task)
    record, weights, totals = await keeper.latest(task.id)
    strategy = made_from(recipe, SpillingSpace(settings.data_dir, settings.limits.held_bytes))
    judge = Judge(task, recipe, keeper)
    await judge.resume()
    training = Training(task.id, strategy, keeper, model.weights, judge)
    session: TrainingSession
    performer: Performer = training
    if (terms := task.masking) is not None:
        session, performer = _masked(task, terms, model, settings, training)
        session.resume(record.number, weights)
    else:
        session = _plain(task, recipe, model, settings)
        session.resume(record.number, weights, *totals, await keeper.counted(task.id))
    await _restore(strategy, task, session, keeper)
    training.max_norm = math.inf if task.max_norm is None else task.max_norm
    training.begin(weights, record.number, record.closed_at)
    session.ended = training.ended
    if session.ended:
        log.info("task=%s round=%s the training has ended: %s", task.id, record.number, session.ended)
    coordinator = Coordinator[TrainingSession](
        task.id, lambda _: session, performer, metrics, group_of=lambda _: EVERYBODY
    )
    coordinator.masked = terms is not None
    coordinator.sessions[EVERYBODY] = session
    return coordinator, training


def _plain(task: Task, recipe: Recipe, model: Model, settings: Settings) -> FederatedSession:
    """Make the session of a task whose contributions the server reads, at round 0."""
    limits = settings.limits
    noticeboard = Noticeboard(limits.metadata_entries, limits.metadata_bytes)
    return FederatedSession(task.id, _rules(task, recipe, settings), model.weights, noticeboard)


def _masked(
    task: Task, terms: Terms, model: Model, settings: Settings, training: Training
) -> tuple[MaskedSession, Performer]:
    """Make the session of a task whose contributions are masked, at round 0, and what performs its effects."""
    from disco.core.masking.session import MaskedSession
    from disco.runtime.masked_training import MaskedTraining

    rules = MaskedRules(
        minimum=task.minimum_participants[Scheme.FEDERATED],
        interval=task.interval or settings.aggregation.interval,
        retry=settings.aggregation.retry,
        terms=terms,
        reset_when_empty=task.reset_when_empty,
    )
    return MaskedSession(task.id, rules, model.weights), MaskedTraining(task.id, training)


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


async def _restore(strategy: Strategy, task: Task, session: TrainingSession, keeper: Keeper) -> None:
    """Give a strategy back what it remembered, and the models that stale contributions may have begun with."""
    strategy.charge(await keeper.spent(task.id))
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
