"""Opens sessions: joins rules and limits, stored rounds, strategy and coordinator."""

from __future__ import annotations

from disco.core.aggregation.mean import Mean
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

#: The group of a federated task: participants of all dialects train in one session.
EVERYBODY = "everybody"


async def open_training(
    task: Task, model: Model, keeper: Keeper, settings: Settings, metrics: Metrics
) -> tuple[Coordinator[FederatedSession], Training]:
    """Prepare a task's federated session at its latest round on disk.

    Raises:
        StorageError: the round cannot be read.
    """
    rules = RoundRules(
        minimum=task.minimum_participants[Scheme.FEDERATED],
        interval=task.interval or settings.aggregation.interval,
        retry=settings.aggregation.retry,
        reset_when_empty=task.reset_when_empty,
    )
    limits = settings.limits
    noticeboard = Noticeboard(limits.metadata_entries, limits.metadata_bytes)
    session = FederatedSession(task.id, rules, model.weights, noticeboard)
    record, weights, (rounds, contributions) = await keeper.latest(task.id)
    session.resume(record.number, weights, rounds, contributions)
    training = Training(task.id, Mean(), keeper, model.weights)
    training.begin(weights, record.closed_at)
    coordinator = Coordinator[FederatedSession](
        task.id, lambda _: session, training, metrics, group_of=lambda _: EVERYBODY
    )
    coordinator.sessions[EVERYBODY] = session
    return coordinator, training


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
