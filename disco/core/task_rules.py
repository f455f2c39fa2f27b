"""What a valid task document must satisfy beyond its schema: rules that look at more than one key.

The three generations write the same facts under different names. A fact must be there under one of its names,
and where it is there under two, they must agree, or clients would disagree with the server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from disco.core.aggregation.recipe import read_recipe
from disco.core.documents import unfit
from disco.core.events import Scheme
from disco.core.task_schema import violations
from disco.errors import Problem

#: The participants that make a round where the task does not say. Source: DISCO's clients, all generations.
DEFAULT_MINIMUM = {Scheme.FEDERATED: 2, Scheme.DECENTRALIZED: 3}

#: With fewer peers, secure aggregation tells each peer the update of the only other.
SECRET_PEERS = 3

_NAMES_BY_DATA_TYPE = {
    "image": (("IMAGE_H",), ("IMAGE_W",)),
    "tabular": (("inputColumns",), ("outputColumns", "outputColumn")),
    "text": (("tokenizer",),),
}


def problems_in(document: object, path: str) -> list[Problem]:
    """Return everything that keeps a document from being a task, each with its dotted path under `path`."""
    problems = unfit(document, path) or violations(document, path)
    if not isinstance(document, Mapping):
        return problems
    told = {problem.path for problem in problems}
    return problems + [problem for problem in _mismatches(document, path) if problem.path not in told]


def section(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return one of a document's objects; empty if it is missing, or none."""
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}


def preferred_scheme(document: Mapping[str, Any]) -> Scheme | None:
    """Return the scheme that a task asks for; None if it asks for none, or to be trained locally."""
    word = section(document, "trainingInformation").get("scheme")
    return next((scheme for scheme in Scheme if isinstance(word, str) and scheme.value == word.lower()), None)


def open_schemes(document: Mapping[str, Any]) -> tuple[Scheme, ...]:
    """Return the schemes in which a task may be trained, in the order listed: all, unless it says so."""
    listed = section(document, "session").get("schemes")
    if not isinstance(listed, list):
        return tuple(Scheme)
    return tuple(scheme for word in listed for scheme in Scheme if scheme.value == word)


def minimum_participants(document: Mapping[str, Any]) -> dict[Scheme, int]:
    """Return the participants that make a round, by scheme.

    A number given holds in both schemes, unless both names for it are there: v2's is the one for peers.
    """
    training = section(document, "trainingInformation")
    given, peers = training.get("minNbOfParticipants"), training.get("minimumReadyPeers")
    by_scheme = {Scheme.FEDERATED: (given, peers), Scheme.DECENTRALIZED: (peers, given)}
    return {
        scheme: next(
            (int(value) for value in values if isinstance(value, int | float)), DEFAULT_MINIMUM[scheme]
        )
        for scheme, values in by_scheme.items()
    }


def is_secret(document: Mapping[str, Any]) -> bool:
    """Tell whether peers of this task, trained decentralized, hide their updates from each other."""
    training = section(document, "trainingInformation")
    by_strategy = training.get("aggregationStrategy", training.get("aggregator")) == "secure"
    return training.get("decentralizedSecure") is True or (
        by_strategy and preferred_scheme(document) is Scheme.DECENTRALIZED
    )


def _mismatches(document: Mapping[str, Any], path: str) -> Iterator[Problem]:
    display, training = section(document, "displayInformation"), section(document, "trainingInformation")
    yield from _one_fact(path, {"taskID": document.get("taskID"), "id": document.get("id")})
    if "displayInformation" in document and not {"taskTitle", "title"} & display.keys():
        yield Problem(f"{path}.displayInformation.taskTitle", "is missing; v4 calls it title")
    names = {"trainingInformation.dataType": training.get("dataType"), "dataType": document.get("dataType")}
    yield from _one_fact(path, names)
    data_type = training.get("dataType", document.get("dataType"))
    for names_of_one in _NAMES_BY_DATA_TYPE.get(str(data_type), ()):
        if training and not any(name in training for name in names_of_one):
            yield Problem(
                f"{path}.trainingInformation.{names_of_one[0]}", f"is missing: {data_type} tasks need it"
            )
    yield from _session_problems(document, path)
    yield from _aggregation_problems(document, path)


def _one_fact(path: str, names: Mapping[str, Any]) -> Iterator[Problem]:
    """Check a fact that may stand under several names, of which the first is the one to recommend."""
    first, *others = names
    given = [value for value in names.values() if value is not None]
    if not given:
        yield Problem(f"{path}.{first}", f"is missing; {' or '.join(others)} would do too")
    elif any(value != given[0] for value in given[1:]):
        yield Problem(
            f"{path}.{first}", f"differs from {' and '.join(others)}: {given[0]!r} and {given[1]!r}"
        )


def _session_problems(document: Mapping[str, Any], path: str) -> Iterator[Problem]:
    training, session = section(document, "trainingInformation"), section(document, "session")
    schemes, scheme = open_schemes(document), preferred_scheme(document)
    given, peers = training.get("minNbOfParticipants"), training.get("minimumReadyPeers")
    if scheme is Scheme.DECENTRALIZED and given is not None and peers is not None and given != peers:
        where = f"{path}.trainingInformation.minimumReadyPeers"
        yield Problem(where, f"is {peers!r}, but minNbOfParticipants is {given!r}: both count the same peers")
    if scheme is not None and scheme not in schemes:
        yield Problem(f"{path}.session.schemes", f"leaves out the task's own scheme, {scheme}")
    count = minimum_participants(document)[Scheme.DECENTRALIZED]
    weak = is_secret(document) and Scheme.DECENTRALIZED in schemes and count < SECRET_PEERS
    if weak and session.get("allowWeakSecrecy") is not True:
        name = "minNbOfParticipants" if peers is None else "minimumReadyPeers"
        why = f"is {count}, but secure aggregation among fewer than {SECRET_PEERS} peers protects nothing"
        where = f"{path}.trainingInformation.{name}"
        yield Problem(where, f"{why}: make it {SECRET_PEERS}, or set session.allowWeakSecrecy")


def _aggregation_problems(document: Mapping[str, Any], path: str) -> list[Problem]:
    training = section(document, "trainingInformation")
    named_secure = training.get("aggregationStrategy", training.get("aggregator")) == "secure"
    return read_recipe(
        document,
        path,
        minimum=minimum_participants(document)[Scheme.FEDERATED],
        masked=named_secure and preferred_scheme(document) is not Scheme.DECENTRALIZED,
    )[1]
