"""Task documents of all generations for property tests: mostly right ones, and ones with something wrong."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
TITLES = TEXT.filter(lambda text: bool(text.strip()))
COUNTS = st.integers(1, 1000) | st.integers(1, 1000).map(float)
NUMBERS = st.integers(-1000, 1000) | st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(1e-9, 1e9)
TEXTS = st.lists(TEXT, max_size=3)
SOME_TEXTS = st.lists(TEXT, min_size=1, max_size=3)
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)

EXAMPLES = (
    TEXT
    | st.lists(st.fixed_dictionaries({"columnName": TEXT, "columnData": TEXT | NUMBERS}), max_size=2)
    | st.lists(st.fixed_dictionaries({"name": TEXT, "data": TEXT}), max_size=2)
)
SUMMARIES = st.fixed_dictionaries({"preview": TEXT, "overview": TEXT})
COMPILE_DATA = st.fixed_dictionaries({"optimizer": TEXT, "loss": TEXT, "metrics": TEXTS})
PRIVACY = st.fixed_dictionaries(
    {},
    optional={
        "clippingRadius": NUMBERS,
        "noiseScale": NUMBERS,
        "differentialPrivacy": st.fixed_dictionaries(
            {"epsilon": POSITIVE, "delta": st.floats(0.001, 0.999)}, optional={"clippingRadius": POSITIVE}
        ),
        "byzantineFaultTolerance": st.fixed_dictionaries({"clippingRadius": POSITIVE}),
    },
)

DISPLAY_OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "summary": SUMMARIES,
    "dataExample": EXAMPLES,
    "headers": TEXTS,
    "sampleDataset": st.fixed_dictionaries({"link": TEXT, "instructions": TEXT}),
    **dict.fromkeys(("dataExampleText", "dataExampleImage", "limitations", "model", "tradeoffs"), TEXT),
    "surprise": st.none() | NUMBERS,
}
TRAINING_OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "scheme": st.sampled_from(["Federated", "Decentralized", "federated", "decentralized", "local"]),
    "aggregationStrategy": st.sampled_from(["mean", "byzantine", "secure"]),
    "aggregator": st.sampled_from(["mean", "secure"]),
    "decentralizedSecure": st.booleans(),
    "maxShareValue": COUNTS,
    "privacy": PRIVACY,
    "clippingRadius": NUMBERS,
    "noiseScale": NUMBERS,
    "learningRate": POSITIVE,
    "modelID": TEXT,
    "modelURL": TEXT,
    "modelCompileData": COMPILE_DATA,
    "preprocessingFunctions": TEXTS,
    "tensorBackend": st.sampled_from(["tfjs", "gpt"]),
    "LABEL_LIST": SOME_TEXTS,
    "maxSequenceLength": COUNTS,
    "contextLength": COUNTS,
    "categoricalColumns": st.dictionaries(TEXT, SOME_TEXTS, max_size=2),
    "roundIterations": COUNTS,
    "validationMode": st.sampled_from(["before", "after", "both"]),
    "maxConnectionRetry": st.integers(0, 9),
}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Task documents that are right, in the words of one generation or of several."""
    data_type = draw(st.sampled_from(["tabular", "image", "text"]))
    document: dict[str, Any] = {
        "displayInformation": {
            **draw(_under_one_name(TITLES, "taskTitle", "title")),
            **draw(st.fixed_dictionaries({}, optional=DISPLAY_OPTIONS)),
        }
    }
    training: dict[str, Any] = draw(
        st.fixed_dictionaries(
            dict.fromkeys(("epochs", "batchSize", "roundDuration"), COUNTS)
            | {"validationSplit": st.floats(0, 1)},
            optional=TRAINING_OPTIONS,
        )
    )
    training |= draw(_by_data_type(data_type))
    if draw(st.booleans()):
        training |= draw(_under_one_name(st.integers(3, 9), "minNbOfParticipants", "minimumReadyPeers"))
    document |= draw(_under_one_name(IDS, "taskID", "id"))
    for name in draw(st.sampled_from([("inner",), ("outer",), ("inner", "outer")])):
        (training if name == "inner" else document)["dataType"] = data_type
    document["trainingInformation"] = training
    document |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "aggregation": st.fixed_dictionaries({"interval": POSITIVE}),
                "session": st.fixed_dictionaries({}, optional={"resetWhenEmpty": st.booleans()}),
            },
        )
    )
    return document


def _under_one_name(values: st.SearchStrategy[Any], *names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Give one value under one of its names, or under all."""
    chosen = st.sampled_from([*((name,) for name in names), names])
    return st.tuples(values, chosen).map(lambda pair: dict.fromkeys(pair[1], pair[0]))


def _by_data_type(data_type: str) -> st.SearchStrategy[dict[str, Any]]:
    match data_type:
        case "image":
            return st.fixed_dictionaries({"IMAGE_H": COUNTS, "IMAGE_W": COUNTS})
        case "tabular":
            several = st.fixed_dictionaries({"inputColumns": TEXTS, "outputColumns": SOME_TEXTS})
            one = st.fixed_dictionaries({"inputColumns": TEXTS, "outputColumn": TEXT})
            return several | one
        case _:
            return st.fixed_dictionaries({"tokenizer": TEXT})


#: Anything that JSON can hold, and some that it cannot.
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def damaged_documents(draw: st.DrawFn) -> Any:
    """Right documents with one value replaced by anything, at any depth, or removed."""
    document = draw(documents())
    holder: Any = document
    while True:
        key = draw(st.sampled_from(sorted(holder)))
        if isinstance(holder[key], dict) and holder[key] and draw(st.booleans()):
            holder = holder[key]
            continue
        if draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = draw(ANYTHING)
        return document
