"""Training in rounds with others: what ``disco join`` does once it has a model and examples."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import trio

from disco.core.names import Scheme, TaskID
from disco.core.weights import Float32s, Weights
from disco.errors import PeersLost, SettingsError
from disco.learning.examples import Examples, Figures, judge
from disco.learning.learner import Learner
from disco.participant import News, NewsKind, Participant
from disco.participant.address import Address
from disco.participant.http import fetch_task, fetch_weights
from disco.participant.local_privacy import LocalPrivacy, asked_by

#: Times that a round of peers is tried again when peers of it were lost.
RETRIES = 5
#: Seconds that the server may take to answer.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Lesson:
    """One round as this participant saw it.

    Args:
        number: of the round, as the server counts; of our rounds in a decentralized session.
        trained: loss and accuracy of our own weights on the validation examples, before the exchange.
        shared: those of the model that came back.
        participants: present at the end; 0 while unknown.
        seconds: that training took, and waiting for the others.
    """

    number: int
    trained: Figures
    shared: Figures
    participants: int
    seconds: float


@dataclass(slots=True, eq=False)
class Course:
    """What is learned, and from what.

    Args:
        learner: holds the examples to train on.
        validation: examples to judge with.
        activation: of the model's last layer.
        epochs: in a round.
        rounds: to take part in.
        samples: how many examples the learner has.
        private: whether to apply the local privacy that the task asks for.
        say: is told what goes on.
        finished: is told of every finished round.
        weights: the latest shared model.
        group_secret: as `Participant` takes it.
        end: why the training has ended for everybody, if it has.
    """

    learner: Learner
    validation: Examples
    activation: str
    epochs: int
    rounds: int
    samples: int
    private: bool
    say: Callable[[str], None]
    finished: Callable[[Lesson], None]
    weights: Sequence[Float32s] = field(default=())
    end: str = ""
    group_secret: str | None = field(default=None, repr=False)


class Company(Protocol):
    """The others: a federated task's server, or the peers of a decentralized one."""

    @property
    def round(self) -> int:
        """The number of the round to come."""

    @property
    def present(self) -> int:
        """How many take part, this one included; 0 while unknown."""

    @property
    def ended(self) -> str:
        """Why the training has ended for everybody; empty while it goes on."""

    async def exchange(self, weights: Sequence[Float32s], samples: int, figures: Figures) -> list[Float32s]:
        """Give weights, and get those that all have agreed on."""


async def take_part(server: Address, task: str, scheme: Scheme, course: Course) -> None:
    """Train and exchange, round after round.

    Raises:
        ConnectionLost: the server, or too many peers, cannot be reached.
        Refused: the server does not take part in this.
    """
    async with _company(server, task, scheme, course) as company:
        for index in range(course.rounds):
            if company.ended:
                course.end = company.ended
                return
            await _attend(company, course, index)
        course.end = company.ended


async def _attend(company: Company, course: Course, index: int) -> None:
    began, number = trio.current_time(), company.round
    course.say(f"round {number} ({index + 1} of {course.rounds}): training")
    weights, _ = await trio.to_thread.run_sync(course.learner.train, course.weights, course.epochs)
    trained = await trio.to_thread.run_sync(_judge, course, weights)
    course.say(f"round {number} ({index + 1} of {course.rounds}): waiting for the others")
    course.weights = await company.exchange(weights, course.samples, trained)
    shared = await trio.to_thread.run_sync(_judge, course, course.weights)
    course.finished(Lesson(number, trained, shared, company.present, trio.current_time() - began))


def _judge(course: Course, weights: Sequence[Float32s]) -> Figures:
    outputs = course.learner.outputs(weights, course.validation.inputs)
    return judge(outputs, course.validation.targets, course.activation)


@asynccontextmanager
async def _company(server: Address, task: str, scheme: Scheme, course: Course) -> AsyncIterator[Company]:
    """Join, and give the course the model to begin with."""
    url, shown = str(server), asdict(server.credentials)
    if scheme is Scheme.FEDERATED:

        def tell(news: News) -> None:
            course.say(sentence(news))

        asked: Literal["task"] | None = "task" if course.private else None
        secret = course.group_secret
        async with Participant(
            url, task, on_news=tell, privacy=asked, group_secret=secret, **shown
        ) as participant:
            course.weights = participant.weights
            yield _Federated(participant)
        return
    peer_class = _peer_class()
    document = await fetch_task(server, TaskID(task), PATIENCE_SECONDS)
    _, initial = await fetch_weights(server, TaskID(task), PATIENCE_SECONDS)
    course.weights = initial.arrays()
    privacy = asked_by(document, "v4") if course.private else None
    async with peer_class(url, task, **shown) as peer:
        yield _Decentralized(peer, course.say, privacy, initial)


def _peer_class() -> Any:
    try:
        from disco.participant import Peer
    except ImportError as error:
        raise SettingsError(
            "peers connect over WebRTC, which needs aiortc: pip install 'disco-server[peer]', or --scheme federated"
        ) from error
    return Peer


def sentence(news: News) -> str:
    """Put news in words."""
    match news.kind:
        case NewsKind.WAITING:
            return f"waiting: {news.participants or 'too few'} present, and more are needed for a round"
        case NewsKind.RESUMED | NewsKind.PARTICIPANTS:
            return f"{news.participants} present; waiting for the others"
        case NewsKind.RECONNECTING:
            return f"the connection was lost, trying again: {news.reason}"
        case NewsKind.RECONNECTED:
            return "connected again"
        case NewsKind.REMARK:
            return f"the server says: {news.reason}"


class _Federated:
    def __init__(self, participant: Participant) -> None:
        self._participant = participant

    @property
    def round(self) -> int:
        return self._participant.round

    @property
    def present(self) -> int:
        return self._participant.participants

    @property
    def ended(self) -> str:
        return self._participant.ended

    async def exchange(self, weights: Sequence[Float32s], samples: int, figures: Figures) -> list[Float32s]:
        return await self._participant.exchange(weights, samples, dict(figures))


class _Decentralized:
    def __init__(
        self, peer: Any, say: Callable[[str], None], privacy: LocalPrivacy | None, initial: Weights
    ) -> None:
        self._peer, self._say = peer, say
        self._privacy, self._shared = privacy, initial
        self.round = 0
        self.ended = ""

    @property
    def present(self) -> int:
        return len(self._peer.participants)

    async def exchange(
        self, weights: Sequence[Float32s], samples: int, figures: Mapping[str, float]
    ) -> list[Float32s]:
        """Average with the peers of a round; a round that lost some is tried again, with the same noise."""
        if self._privacy is not None:
            weights = self._privacy.protect(Weights.from_arrays(weights), self._shared).arrays()
        for _ in range(RETRIES):
            try:
                mean: list[Float32s] = await self._peer.exchange(weights)
            except PeersLost as error:
                self._say(f"again: {error}")
                continue
            self.round += 1
            self._shared = Weights.from_arrays(mean)
            return mean
        raise PeersLost(f"{RETRIES} rounds in a row lost peers")
