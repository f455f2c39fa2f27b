"""The schema of a task document: every key of the three generations, with its type and range.

JSON Schema (draft 2020-12) as Python values. ``description`` is the rule in words where the keyword alone
would not make a sentence. How keys depend on each other is in `disco.core.task_rules`.

Source: DISCO's task validators: v2 ``isTask``, v3 ``isTask``, v4 ``Task.schema``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from disco.core.documents import MAX_PROBLEMS
from disco.errors import Problem

Schema = dict[str, Any]

ID_PATTERN = r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z"
DATA_TYPES = ("tabular", "image", "text")
SCHEME_WORDS = ("federated", "decentralized", "local", "Federated", "Decentralized", "Local")
AGGREGATION_STRATEGIES = ("mean", "byzantine", "secure")

#: Enough for every count; keeps numbers exact in JavaScript and in 32 bits.
MAX_COUNT = 2**31 - 1

_TEXT: Schema = {"type": "string"}
_TITLE: Schema = {"type": "string", "pattern": r"\S", "description": "must not be blank"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_COUNT}
_COUNT_FROM_0: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_COUNT}
_POSITIVE: Schema = {"type": "number", "exclusiveMinimum": 0}
_FRACTION: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_FLAG: Schema = {"type": "boolean"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_TEXTS_FROM_1: Schema = {"type": "array", "items": _TEXT, "minItems": 1}
_ID: Schema = {
    "type": "string",
    "pattern": ID_PATTERN,
    "description": "must be 1 to 64 letters, digits, _ or -, beginning with a letter or digit",
}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": properties}


def _exactly(**properties: Schema) -> Schema:
    return {**_object(tuple(properties), **properties), "additionalProperties": False}


def _only(description: str, required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {**_object(required, **properties), "additionalProperties": False, "description": description}


_AIM: dict[str, Schema] = {"figure": _TITLE, "mode": {"enum": ["max", "min"]}}

_DATA_EXAMPLE: Schema = {
    "anyOf": [
        _TEXT,
        {"type": "array", "items": _exactly(columnName=_TEXT, columnData={"type": ["string", "number"]})},
        {"type": "array", "items": _exactly(name=_TEXT, data=_TEXT)},
    ],
    "description": "must be text, or a list of {columnName, columnData} or of {name, data} and nothing else",
}

_DISPLAY = _object(
    title=_TITLE,
    taskTitle=_TITLE,
    summary=_object(("preview", "overview"), preview=_TEXT, overview=_TEXT),
    dataExample=_DATA_EXAMPLE,
    dataExampleImage=_TEXT,
    dataExampleText=_TEXT,
    dataFormatInformation=_TEXT,
    headers=_TEXTS,
    limitations=_TEXT,
    model=_TEXT,
    sampleDataset=_object(("link", "instructions"), link=_TEXT, instructions=_TEXT),
    sampleDatasetLink=_TEXT,
    tradeoffs=_TEXT,
)

_PRIVACY = _object(
    clippingRadius=_NUMBER,
    noiseScale=_NUMBER,
    differentialPrivacy=_object(
        ("epsilon", "delta"),
        clippingRadius=_POSITIVE,
        epsilon=_POSITIVE,
        delta={"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    ),
    byzantineFaultTolerance=_object(
        ("clippingRadius",), clippingRadius=_POSITIVE, maxIterations=_COUNT, beta=_FRACTION
    ),
)

_TRAINING = _object(
    ("epochs", "batchSize", "roundDuration", "validationSplit"),
    dataType={"enum": list(DATA_TYPES)},
    epochs=_COUNT,
    batchSize=_COUNT,
    roundDuration=_COUNT,
    validationSplit=_FRACTION,
    scheme={"enum": list(SCHEME_WORDS)},
    minNbOfParticipants=_COUNT,
    minimumReadyPeers=_COUNT,
    aggregationStrategy={"enum": list(AGGREGATION_STRATEGIES)},
    aggregator={"enum": ["mean", "secure"]},
    decentralizedSecure=_FLAG,
    maxShareValue=_COUNT,
    privacy=_PRIVACY,
    clippingRadius=_NUMBER,
    noiseScale=_NUMBER,
    learningRate=_POSITIVE,
    modelID=_TEXT,
    modelURL=_TEXT,
    modelCompileData=_object(("optimizer", "loss", "metrics"), optimizer=_TEXT, loss=_TEXT, metrics=_TEXTS),
    preprocessingFunctions=_TEXTS,
    tensorBackend={"enum": ["tfjs", "gpt"]},
    LABEL_LIST=_TEXTS_FROM_1,
    IMAGE_H=_COUNT,
    IMAGE_W=_COUNT,
    inputColumns=_TEXTS,
    outputColumns=_TEXTS_FROM_1,
    outputColumn=_TEXT,
    categoricalColumns={"type": "object", "additionalProperties": _TEXTS_FROM_1},
    tokenizer=_TEXT,
    contextLength=_COUNT,
    maxSequenceLength=_COUNT,
    goldfishLoss=_object(("enabled",), enabled=_FLAG, k=_COUNT, h=_COUNT, padTokenId={"type": "integer"}),
    roundIterations=_COUNT,
    validationFrequency=_COUNT_FROM_0,
    validationMode={"enum": ["before", "after", "both"]},
    maxConnectionRetry=_COUNT_FROM_0,
    maxPeerConnectionTime=_COUNT_FROM_0,
    maxModelSyncTime=_COUNT_FROM_0,
)

TASK: Schema = _object(
    ("displayInformation", "trainingInformation"),
    id=_ID,
    taskID=_ID,
    dataType={"enum": list(DATA_TYPES)},
    digest=_object(("algorithm", "value"), algorithm=_TEXT, value=_TEXT),
    displayInformation=_DISPLAY,
    trainingInformation=_TRAINING,
    # What is in the tables is read by `disco.core.aggregation.recipe`.
    aggregation=_object(
        interval=_POSITIVE,
        maxNorm=_POSITIVE,
        strategy=_TEXT,
        parameters=_object(),
        weighting=_object(),
        clipping=_object(),
        optimizer=_object(name=_TEXT),
        buffer=_object(),
        privacy=_object(),
        masking=_object(),
    ),
    # What is in the tables is read by `disco.core.evaluation.plan`.
    evaluation=_only(
        "may have data, keepBest and stopping, and nothing else",
        data=_TEXT,
        keepBest=_only("may have figure and mode, and nothing else", ("figure", "mode"), **_AIM),
        stopping=_only(
            "may have figure, mode, patience and minDelta, and nothing else",
            ("figure", "mode", "patience"),
            patience=_COUNT,
            minDelta={"type": "number", "minimum": 0},
            **_AIM,
        ),
    ),
    session=_object(
        resetWhenEmpty=_FLAG,
        requireToken=_FLAG,
        allowWeakSecrecy=_FLAG,
        schemes={
            "type": "array",
            "items": {"enum": ["federated", "decentralized"]},
            "minItems": 1,
            "uniqueItems": True,
        },
    ),
)

_VALIDATOR = Draft202012Validator(TASK)

_TYPE_NAMES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}


def violations(document: object, path: str) -> list[Problem]:
    """Return every violation of the schema (a hundred are enough), each with its dotted path under `path`."""
    problems: dict[Problem, None] = {}
    for error in islice(_VALIDATOR.iter_errors(document), MAX_PROBLEMS):
        problems.update(dict.fromkeys(_told(error, path)))
    return list(problems)


def _told(error: ValidationError, root: str) -> Iterator[Problem]:
    where = root + "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path
    )
    given, limit = error.instance, error.validator_value
    if error.validator == "required":
        yield from (Problem(f"{where}.{name}", "is missing") for name in limit if name not in given)
        return
    if "description" in error.schema and error.validator != "type":
        yield Problem(where, error.schema["description"])
        return
    shown = (
        f"{given!r}" if len(repr(given)) <= 40 else f"{type(given).__name__} of {len(repr(given))} characters"
    )
    yield Problem(
        where, f"must be {_rule(str(error.validator), limit)}, not {'null' if given is None else shown}"
    )


def _rule(keyword: str, limit: Any) -> str:
    match keyword:
        case "type":
            return " or ".join(_TYPE_NAMES[name] for name in ([limit] if isinstance(limit, str) else limit))
        case "enum":
            return f"one of {', '.join(limit)}"
        case "minimum":
            return f"at least {limit}"
        case "maximum":
            return f"at most {limit}"
        case "exclusiveMinimum":
            return f"above {limit}"
        case "exclusiveMaximum":
            return f"below {limit}"
        case "minItems":
            return f"a list of at least {limit}"
        case "uniqueItems":
            return "a list without repetitions"
        case _:
            return f"right by the rule {keyword}: {limit}"
