"""The real v2 client from npm, against a server in a process of its own."""

from __future__ import annotations

import uuid

import pytest

from tests.interop.conftest import Kit

pytestmark = pytest.mark.interop


def fresh(name: str) -> str:
    return f"{name}_{uuid.uuid4().hex[:8]}"


def test_it_lists_loads_pushes_and_gets_back_tasks(kit: Kit) -> None:
    kit("tasks.js", fresh("pushed"))


@pytest.mark.parametrize("participants", [2, 3])
def test_it_trains_federated_rounds_to_the_exact_mean(kit: Kit, participants: int) -> None:
    kit("federated.js", fresh("federated"), str(participants), "3", "--push", f"--capacity={participants}")


def test_it_trains_titanic_and_its_loss_goes_down(impatient_kit: Kit) -> None:
    impatient_kit("train.js", "titanic", "2", "--mode=federated", "--epochs=6")
