"""What a valid task document must satisfy beyond its schema: rules that look at more than one key.

The three generations write the same facts under different names. A fact must be there under one of its names,
and where it is there under two, they must agree, or clients would disagree with the server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from disco.core.aggregation.parameters import Reading
from disco.core.aggregation.recipe import read_recipe
from disco.core.documents import unfit
from disco.core.evaluation import read_plan
from disco.core.masking.terms import Terms, can_mask, read_terms
from disco.core.names import Scheme
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
    """Return the schemes in which a task may be trained, in the order listed: all, unless it says so.

    A task whose contributions are masked is open to peers only if it says that, and how they hide theirs.
    """
    listed = section(document, "session").get("schemes")
    if not isinstance(listed, list):
        masked = _asks_for_masks(document) and not is_secret(document)
        return (Scheme.FEDERATED,) if masked else tuple(Scheme)
    return tuple(scheme for word in listed for scheme in Scheme if scheme.value == word)


def minimum_participants(document: Mapping[str, Any]) -> dict[Scheme, int]:
    """Return the participants that make a round, by scheme.

    A number given holds in both schemes, unless both names for it are there: v2's is the one for peers.
    """
    training = section(document, "trainingInformation")
    given, peers = training.get("minNbOfParticipants"), training.get("minimumReadyPeers")
    by_scheme = {Scheme.FEDERATED: (given, peers), Scheme.DECENTRALIZED: (peers, given)}
    default = {**DEFAULT_MINIMUM, **({Scheme.FEDERATED: SECRET_PEERS} if is_masked(document) else {})}
    return {
        scheme: next((int(value) for value in values if isinstance(value, int | float)), default[scheme])
        for scheme, values in by_scheme.items()
    }


def is_secret(document: Mapping[str, Any]) -> bool:
    """Tell whether peers of this task, trained decentralized, hide their updates from each other."""
    training = section(document, "trainingInformation")
    by_strategy = training.get("aggregationStrategy", training.get("aggregator")) == "secure"
    return training.get("decentralizedSecure") is True or (
        by_strategy and preferred_scheme(document) is Scheme.DECENTRALIZED
    )


def is_masked(document: Mapping[str, Any]) -> bool:
    """Tell whether participants of this task, trained federated, mask their contributions from the server.

    ``secure`` is DISCO's word, and ``aggregation.masking`` the server's own table for how.
    """
    return _asks_for_masks(document) and Scheme.FEDERATED in open_schemes(document)


def _asks_for_masks(document: Mapping[str, Any]) -> bool:
    training = section(document, "trainingInformation")
    named = training.get("aggregationStrategy", training.get("aggregator")) == "secure"
    by_name = named and preferred_scheme(document) is not Scheme.DECENTRALIZED
    return by_name or "masking" in section(document, "aggregation")


def masking_terms(document: Mapping[str, Any], reading: Reading | None = None) -> Terms | None:
    """Return how a task's contributions are masked, or None if they are not; problems go to `reading`."""
    table = section(section(document, "aggregation"), "masking")
    return read_terms(table, reading or Reading("")) if is_masked(document) else None


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
    yield from read_plan(document, path)[1]


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
    problems = []
    private = "privacy" in section(document, "aggregation")
    if private and Scheme.DECENTRALIZED in open_schemes(document):
        why = 'must be ["federated"]: aggregation.privacy does not protect what peers send each other'
        problems.append(Problem(f"{path}.session.schemes", why))
    masked = is_masked(document)
    if masked:
        problems += _masking_problems(document, path)
    minimum = minimum_participants(document)[Scheme.FEDERATED]
    return problems + read_recipe(document, path, minimum=minimum, masked=masked)[1]


def _masking_problems(document: Mapping[str, Any], path: str) -> Iterator[Problem]:
    reading = Reading(f"{path}.aggregation")
    masking_terms(document, reading)
    yield from reading.problems
    if not can_mask():
        needed = "needs the package cryptography on the server: pip install disco-server[participant]"
        yield Problem(f"{path}.aggregation.masking", needed)
    if "maxNorm" in section(document, "aggregation"):
        why = "looks at single contributions, which secure aggregation hides"
        yield Problem(f"{path}.aggregation.maxNorm", why)
    count = minimum_participants(document)[Scheme.FEDERATED]
    if count < SECRET_PEERS and section(document, "session").get("allowWeakSecrecy") is not True:
        why = (
            f"is {count}, but a sum of fewer than {SECRET_PEERS} tells each of them the others' contribution"
        )
        where = f"{path}.trainingInformation.minNbOfParticipants"
        yield Problem(where, f"{why}: make it {SECRET_PEERS}, or set session.allowWeakSecrecy")
    if Scheme.DECENTRALIZED in open_schemes(document) and not is_secret(document):
        why = 'must be ["federated"]: what peers send each other is not masked; or set decentralizedSecure'
        yield Problem(f"{path}.session.schemes", why)
