"""A task: what is trained together, and how. Validation, and one form for every generation of clients.

Source: DISCO's task validators: v2 ``isTask``, v3 ``isTask``, v4 ``Task.schema``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from disco.core.documents import plain, without_nulls
from disco.core.masking.terms import Terms
from disco.core.names import Scheme, TaskID
from disco.core.task_rules import (
    is_secret,
    masking_terms,
    minimum_participants,
    open_schemes,
    preferred_scheme,
    problems_in,
    section,
)
from disco.errors import InvalidTask

#: A GPT's context where the task does not say. Source: v3 takes its tokenizer's limit, 1024 for GPT-2's.
DEFAULT_CONTEXT = 1024

#: v4's byzantine aggregation has no default for this radius; where a task names none, as for its own privacy.
DEFAULT_RADIUS = 1

#: What a class is called where an image task lists none.
UNKNOWN_LABEL = "unknown"

_COMPILE_DATA: Mapping[str, Mapping[str, Any]] = {
    "tabular": {"optimizer": "rmsprop", "loss": "binaryCrossentropy", "metrics": ["accuracy"]},
    "image": {"optimizer": "rmsprop", "loss": "categoricalCrossentropy", "metrics": ["accuracy"]},
    "text": {"optimizer": "adam", "loss": "categoricalCrossentropy", "metrics": []},
}


@dataclass(frozen=True, slots=True)
class Task:
    """One task, validated.

    Args:
        id: matches ``[A-Za-z0-9][A-Za-z0-9_-]{0,63}``.
        title: what people read.
        data_type: ``tabular``, ``image`` or ``text``.
        scheme: the scheme it prefers; it is open in every scheme of `schemes`.
        schemes: in which it may be trained.
        minimum_participants: how many make a round: by scheme, as both default differently.
        interval: seconds after a round's first contribution when it closes with what it has; None for the
            server's setting.
        reset_when_empty: whether the training starts anew when the last participant leaves.
        document: the task as it was given, JSON.
    """

    id: TaskID
    title: str
    data_type: str
    scheme: Scheme
    schemes: frozenset[Scheme]
    minimum_participants: Mapping[Scheme, int]
    interval: float | None
    reset_when_empty: bool
    document: Mapping[str, Any]

    @classmethod
    def from_document(cls, document: object, *, path: str = "task") -> Task:
        """Validate a task of any generation (v2, v3, v4) and read it.

        In documents with an ``id``, as v3 and v4 write them, null stands for an absent key. In a v2 document,
        as in v2's own validator, it is a violation wherever a type is known.

        Raises:
            InvalidTask: every violation at once, each with its dotted path under `path`.
        """
        if isinstance(document, Mapping) and document.get("id") is not None:
            document = without_nulls(document)
        problems = problems_in(document, path)
        if problems or not isinstance(document, Mapping):
            raise InvalidTask(problems)
        display, training = section(document, "displayInformation"), section(document, "trainingInformation")
        schemes = open_schemes(document)
        interval = section(document, "aggregation").get("interval")
        return cls(
            id=TaskID(document.get("taskID") or document["id"]),
            title=display.get("taskTitle") or display["title"],
            data_type=training.get("dataType") or document["dataType"],
            scheme=preferred_scheme(document) or schemes[0],
            schemes=frozenset(schemes),
            minimum_participants=minimum_participants(document),
            interval=None if interval is None else float(interval),
            reset_when_empty=section(document, "session").get("resetWhenEmpty", False),
            document=plain(document),
        )

    @property
    def requires_token(self) -> bool:
        """Whether joining, and reading its models, needs a token."""
        return bool(section(self.document, "session").get("requireToken", False))

    @property
    def max_norm(self) -> float | None:
        """How far an update may be from the global model, as an L2 norm over all parameters; None for any."""
        found = section(self.document, "aggregation").get("maxNorm")
        return None if found is None else float(found)

    @property
    def masking(self) -> Terms | None:
        """How participants of federated rounds mask their contributions; None where the server reads them."""
        return masking_terms(self.document)

    def public(self) -> dict[str, Any]:
        """One JSON object for all three generations: as given, plus what their validators miss.

        One key goes: ``displayInformation.dataExample``, whose forms in v2 and v4 exclude each other.
        """
        whole = {
            **self.document,
            "taskID": self.id,
            "id": self.id,
            "dataType": self.data_type,
            "displayInformation": self._public_display(),
            "trainingInformation": self._public_training(),
        }
        if (terms := self.masking) is not None:
            whole["aggregation"] = {**section(self.document, "aggregation"), "masking": terms.document()}
        return plain(without_nulls(whole))

    def for_v2(self) -> dict[str, Any]:
        """What an axios client of 2022 gets: the document as given, plus only what v2's validator misses."""
        document = plain(self.document)
        document["taskID"] = self.id
        display = document["displayInformation"]
        display.setdefault("taskTitle", self.title)
        if not _is_v2_example(display.get("dataExample", [])):
            del display["dataExample"]
        training = document["trainingInformation"]
        if "minNbOfParticipants" in training:
            training.setdefault("minimumReadyPeers", training["minNbOfParticipants"])
        for name, value in self._v2_training().items():
            training.setdefault(name, value)
        return document

    def _public_display(self) -> dict[str, Any]:
        given = dict(section(self.document, "displayInformation"))
        given.pop("dataExample", None)
        summary = {"preview": self.title, "overview": ""}
        return {"taskTitle": self.title, "title": self.title, "summary": summary, **given}

    def _public_training(self) -> dict[str, Any]:
        given = section(self.document, "trainingInformation")
        word = str(given.get("scheme", self.scheme)).lower()
        strategy = self._public_strategy(word)
        return {
            "tensorBackend": "gpt" if self.data_type == "text" else "tfjs",
            "minNbOfParticipants": self.minimum_participants[self.scheme],
            "minimumReadyPeers": self.minimum_participants[Scheme.DECENTRALIZED],
            **self._v2_training(),
            **_later_training(given, self.data_type),
            **given,
            **_privacy(given, strategy),
            "scheme": word,
            "aggregationStrategy": strategy,
        }

    def _public_strategy(self, word: str) -> str:
        """Name the aggregation in v4's words for a scheme, which are fewer where peers do not aggregate."""
        given = section(self.document, "trainingInformation")
        strategy = str(given.get("aggregationStrategy", given.get("aggregator", "mean")))
        if word == "decentralized" and is_secret(self.document):
            return "secure"
        return "mean" if word == "local" or strategy == "secure" else strategy

    def _v2_training(self) -> dict[str, Any]:
        """What v2's validator demands, from the task's own words where it has some."""
        training = section(self.document, "trainingInformation")
        words: dict[str, Any] = {
            "dataType": self.data_type,
            "modelID": f"{self.id}-model",
            "modelCompileData": plain(_COMPILE_DATA[self.data_type]),
        }
        if "outputColumn" in training:
            words["outputColumns"] = [training["outputColumn"]]
        if is_secret(self.document):
            words["decentralizedSecure"] = True
        return words


def _later_training(training: Mapping[str, Any], data_type: str) -> dict[str, Any]:
    """What the validators of v3 and v4 demand for a type of data."""
    match data_type:
        case "image":
            return {"LABEL_LIST": [UNKNOWN_LABEL]}
        case "tabular":
            return {"outputColumn": training["outputColumns"][0]} if "outputColumns" in training else {}
        case _:
            return {"contextLength": training.get("maxSequenceLength", DEFAULT_CONTEXT)}


def _privacy(training: Mapping[str, Any], strategy: str) -> dict[str, Any]:
    """The same limits under v2's names and in the place that v3 and v4 read."""
    names = ("clippingRadius", "noiseScale")
    inner = training.get("privacy", {})
    limits = {name: source[name] for source in (inner, training) for name in names if name in source}
    privacy = {**{name: training[name] for name in names if name in training}, **inner}
    if strategy == "byzantine" and "byzantineFaultTolerance" not in privacy:
        radius = limits.get("clippingRadius", 0)
        privacy["byzantineFaultTolerance"] = {"clippingRadius": radius if radius > 0 else DEFAULT_RADIUS}
    return {**limits, **({"privacy": privacy} if privacy else {})}


def _is_v2_example(example: Any) -> bool:
    return isinstance(example, list) and all("columnName" in entry for entry in example)
