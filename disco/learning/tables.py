"""Examples from a CSV file whose first line names the columns."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from disco.core.weights import Float32s
from disco.errors import SettingsError
from disco.learning.examples import Examples

#: What stands for a value that is not known.
MISSING = frozenset({"", "na", "nan", "null", "none", "?"})


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What was read.

    Args:
        left_out: rows in which a value is missing.
    """

    examples: Examples
    left_out: int


def read_table(path: Path, task: Mapping[str, Any], outputs: int, *, standardize: bool = False) -> Table:
    """Read the columns that a task names.

    Args:
        path: a CSV file in UTF-8.
        task: its JSON document.
        outputs: of the model. Several outputs and one output column mean that the column holds the class, from 0.
        standardize: whether to shift and scale each input column to mean 0 and deviation 1 over this file.

    Raises:
        SettingsError: the file cannot be read, lacks a column, or has a value that is no number; the message says
            where.
    """
    training = task["trainingInformation"]
    names, wanted = list(training["inputColumns"]), list(training["outputColumns"])
    if training.get("categoricalColumns"):
        raise SettingsError("the task has categorical columns, which cannot be read here yet")
    rows, left_out = _rows(path, [*names, *wanted])
    if not rows:
        raise SettingsError(f"{path} has no row in which every column of the task has a value")
    values = np.array(rows, dtype=np.float32)
    inputs, targets = values[:, : len(names)], values[:, len(names) :]
    if standardize:
        deviation = inputs.std(axis=0)
        inputs = (inputs - inputs.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    return Table(Examples(inputs, _targets(path, targets, wanted, outputs)), left_out)


def _rows(path: Path, columns: Sequence[str]) -> tuple[list[list[float]], int]:
    rows, left_out = [], 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            lacking = [column for column in columns if column not in (reader.fieldnames or ())]
            if lacking:
                raise SettingsError(
                    f"{path} lacks the columns {', '.join(lacking)}; its first line must name them"
                )
            for row in reader:
                if any((row[column] or "").strip().lower() in MISSING for column in columns):
                    left_out += 1
                else:
                    rows.append([_number(row[column], column, path, reader.line_num) for column in columns])
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path} is not a CSV file in UTF-8: {error}") from error
    return rows, left_out


def _number(text: str, column: str, path: Path, line: int) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise SettingsError(f"{path}, line {line}: {column} is {text.strip()[:40]!r}, which is no number")
    return number


def _targets(path: Path, targets: Float32s, columns: Sequence[str], outputs: int) -> Float32s:
    """Give every output of the model its column."""
    if targets.shape[1] == outputs:
        return targets
    if targets.shape[1] != 1:
        raise SettingsError(
            f"the task has {targets.shape[1]} output columns, and its model {outputs} outputs"
        )
    classes = targets[:, 0]
    if not (np.equal(classes, np.round(classes)) & (classes >= 0) & (classes < outputs)).all():
        raise SettingsError(f"{path}: {columns[0]} must be a class from 0 to {outputs - 1}")
    one_hot: Float32s = np.eye(outputs, dtype=np.float32)[classes.astype(int)]
    return one_hot
