"""The task validators of DISCO's three generations of clients, written down from their behaviour.

Each function answers as the client does: one refused task makes a v2 or v3 client refuse the whole list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_text(value: object) -> bool:
    return isinstance(value, str)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_flag(value: object) -> bool:
    return isinstance(value, bool)


def is_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


def is_integer(value: object) -> bool:
    return is_number(value) and float(value).is_integer()  # type: ignore[arg-type]


def is_count(value: object) -> bool:
    return is_integer(value) and value > 0  # type: ignore[operator]


def is_count_from_0(value: object) -> bool:
    return is_integer(value) and value >= 0  # type: ignore[operator]


def absent_or(holder: Mapping[str, Any], name: str, check: Any) -> bool:
    """JavaScript's `x === undefined || check(x)`: a null that is there is not absent."""
    return name not in holder or check(holder[name])


def is_object_of(value: object, /, **fields: Any) -> bool:
    return isinstance(value, dict) and all(
        name in value and check(value[name]) for name, check in fields.items()
    )


def is_summary(value: object) -> bool:
    return is_object_of(value, preview=is_text, overview=is_text)


# ── v2 ───────────────────────────────────────────────────────────────────────────────────────────────────


def v2_is_task(task: object) -> bool:
    return (
        is_object_of(task, taskID=is_text, displayInformation=_v2_display, trainingInformation=_v2_training)
        and isinstance(task, dict)
        and absent_or(task, "digest", lambda digest: is_object_of(digest, algorithm=is_text, value=is_text))
    )


def _v2_display(value: object) -> bool:
    texts = [
        "dataExampleText",
        "dataFormatInformation",
        "tradeoffs",
        "model",
        "dataExampleImage",
        "limitations",
    ]
    return (
        isinstance(value, dict)
        and is_text(value.get("taskTitle"))
        and all(absent_or(value, name, is_text) for name in texts)
        and absent_or(value, "summary", is_summary)
        and absent_or(value, "dataExample", lambda e: isinstance(e, list) and all(map(_v2_example, e)))
        and absent_or(value, "headers", is_texts)
    )


def _v2_example(value: object) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"columnName", "columnData"}
        and is_text(value["columnName"])
        and (is_text(value["columnData"]) or is_number(value["columnData"]))
    )


def _v2_training(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    numbers = ["noiseScale", "clippingRadius", "learningRate", "maxShareValue", "minimumReadyPeers"]
    by_type = {
        "image": all(is_number(value.get(name)) for name in ("IMAGE_H", "IMAGE_W")),
        "tabular": all(is_texts(value.get(name)) for name in ("inputColumns", "outputColumns")),
    }
    return (
        all(is_text(value.get(name)) for name in ("dataType", "modelID"))
        and all(is_number(value.get(n)) for n in ("epochs", "batchSize", "roundDuration", "validationSplit"))
        and all(absent_or(value, name, is_number) for name in numbers)
        and absent_or(value, "modelURL", is_text)
        and absent_or(value, "decentralizedSecure", is_flag)
        and by_type.get(value["dataType"], True)
        and is_object_of(value.get("modelCompileData"), optimizer=is_text, loss=is_text, metrics=is_texts)
        and all(absent_or(value, name, is_texts) for name in ("LABEL_LIST", "preprocessingFunctions"))
    )


# ── v3 ───────────────────────────────────────────────────────────────────────────────────────────────────


def v3_is_task(task: object) -> bool:
    return is_object_of(task, id=is_text, displayInformation=_v3_display, trainingInformation=_v3_training)


def _v3_display(value: object) -> bool:
    return _v2_display(value) and isinstance(value, dict) and is_summary(value.get("summary"))


def _v3_training(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    needed = ["epochs", "batchSize", "roundDuration", "validationSplit", "minNbOfParticipants"]
    by_type = {
        "image": all(is_number(value.get(name)) for name in ("IMAGE_H", "IMAGE_W")),
        "tabular": is_texts(value.get("inputColumns")) and is_text(value.get("outputColumn")),
        "text": is_text(value.get("tokenizer")),
    }
    lists = ["LABEL_LIST", "inputColumns", "outputColumns"]
    return (
        by_type.get(str(value.get("dataType")), False)
        and value.get("tensorBackend") in ("tfjs", "gpt")
        and value.get("scheme") in ("decentralized", "federated", "local")
        and all(is_number(value.get(name)) for name in needed)
        and all(absent_or(value, name, is_number) for name in ("maxShareValue", "maxSequenceLength"))
        and all(absent_or(value, name, is_texts) for name in lists)
        and absent_or(value, "preprocessingFunctions", lambda functions: isinstance(functions, list))
        and absent_or(value, "aggregator", lambda word: word in ("mean", "secure"))
        and absent_or(value, "privacy", _v3_privacy)
    )


def _v3_privacy(value: object) -> bool:
    return isinstance(value, dict) and all(
        absent_or(value, n, is_number) for n in ("clippingRadius", "noiseScale")
    )


# ── v4 ───────────────────────────────────────────────────────────────────────────────────────────────────


def v4_is_task(task: object) -> bool:
    if not (isinstance(task, dict) and is_text(task.get("id"))):
        return False
    data_type = task.get("dataType")
    return _v4_display(task.get("displayInformation"), data_type) and _v4_training(
        task.get("trainingInformation"), data_type
    )


def _v4_display(value: object, data_type: object) -> bool:
    if not isinstance(value, dict):
        return False

    def is_table(example: object) -> bool:
        return isinstance(example, list) and all(is_object_of(e, name=is_text, data=is_text) for e in example)

    return (
        is_text(value.get("title"))
        and is_summary(value.get("summary"))
        and all(absent_or(value, name, is_text) for name in ("dataFormatInformation", "model"))
        and absent_or(value, "sampleDataset", lambda s: is_object_of(s, link=is_text, instructions=is_text))
        and absent_or(value, "dataExample", is_table if data_type == "tabular" else is_text)
    )


def _v4_training(value: object, data_type: object) -> bool:
    if not isinstance(value, dict):
        return False
    by_type = {
        "image": is_texts(value.get("LABEL_LIST"))
        and len(value["LABEL_LIST"]) > 0
        and all(is_count(value.get(name)) for name in ("IMAGE_H", "IMAGE_W")),
        "tabular": is_texts(value.get("inputColumns"))
        and is_text(value.get("outputColumn"))
        and absent_or(value, "categoricalColumns", _v4_categories),
        "text": is_text(value.get("tokenizer"))
        and is_count(value.get("contextLength"))
        and absent_or(value, "learningRate", lambda rate: is_number(rate) and rate > 0),
    }
    return (
        by_type.get(str(data_type), False)
        and all(is_count(value.get(name)) for name in ("epochs", "batchSize", "roundDuration"))
        and is_number(value.get("validationSplit"))
        and 0 <= value["validationSplit"] <= 1
        and value.get("tensorBackend") in ("tfjs", "gpt")
        and absent_or(value, "roundIterations", is_count)
        and absent_or(value, "validationFrequency", is_count_from_0)
        and absent_or(value, "validationMode", lambda mode: mode in ("before", "after", "both"))
        and _v4_network(value)
    )


def _v4_categories(value: object) -> bool:
    return isinstance(value, dict) and all(is_texts(entry) and entry for entry in value.values())


def _v4_network(value: dict[str, Any]) -> bool:
    strategy = value.get("aggregationStrategy")
    waits = ("maxConnectionRetry", "maxPeerConnectionTime", "maxModelSyncTime")
    match value.get("scheme"):
        case "local":
            return bool(strategy == "mean")
        case "federated":
            right = strategy in ("mean", "byzantine")
        case "decentralized":
            right = strategy in ("mean", "byzantine", "secure") and all(
                absent_or(value, name, is_count_from_0) for name in waits
            )
        case _:
            return False
    if strategy == "byzantine":
        right = right and _v4_byzantine(value.get("privacy"))
    if strategy == "secure":
        right = right and absent_or(value, "maxShareValue", is_count)
    return right and is_count(value.get("minNbOfParticipants")) and absent_or(value, "privacy", _v4_privacy)


def _v4_privacy(value: object) -> bool:
    def is_differential(given: object) -> bool:
        return (
            is_object_of(given, epsilon=is_number, delta=is_number)
            and isinstance(given, dict)
            and given["epsilon"] > 0
            and 0 < given["delta"] < 1
            and absent_or(given, "clippingRadius", lambda radius: is_number(radius) and radius > 0)
        )

    return isinstance(value, dict) and absent_or(value, "differentialPrivacy", is_differential)


def _v4_byzantine(privacy: object) -> bool:
    return isinstance(privacy, dict) and is_object_of(
        privacy.get("byzantineFaultTolerance"), clippingRadius=lambda radius: is_number(radius) and radius > 0
    )
