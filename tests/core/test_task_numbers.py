"""Documents with what JSON has no word for, as msgpack and lenient parsers let through."""

from __future__ import annotations

import pytest

from disco.core.task import Task
from disco.errors import InvalidTask
from tests.web.test_tasks import task


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["taskID", "id", "dataType", "displayInformation", "trainingInformation"])
def test_a_number_that_is_none_is_a_problem_and_breaks_nothing(name: str, value: float) -> None:
    with pytest.raises(InvalidTask):
        Task.from_document({**task(), name: value})
