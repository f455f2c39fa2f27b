"""The dashboard and the alert rules ask for metrics that a server has."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from tests.conftest import Server
from tests.test_launch import get
from tests.web.clients import post, v2

yaml = pytest.importorskip("yaml")

GRAFANA = Path(__file__).parents[2] / "docs" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "disco.json").read_text("utf-8"))
ALERTS: dict[str, Any] = yaml.safe_load((GRAFANA / "alerts.yml").read_text("utf-8"))

#: A metric with the labels that it is selected by, and those that it is grouped by where one metric is asked for.
SELECTOR = re.compile(r"\b(disco_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\bby \(([^)]*)\)")
SHAPES = [np.zeros(shape, np.float32) for shape in ((2, 3), (3,), (3, 1), (1,))]


def queries() -> list[str]:
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return panels + [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]


async def exposed(server: Server) -> dict[str, set[str]]:
    """Return every metric of a server that has closed a round and refused something, each with its labels."""
    async with v2(server.ws) as one, v2(server.ws) as other:
        await post(one, SHAPES[:1], 0)
        await post(one, SHAPES, 0)
        await post(other, SHAPES, 0)
        with trio.fail_after(10):
            while (await one.ask(type=13))["statistics"]["round"] == 0:
                pass  # asking waits for the answer
        text = (await trio.to_thread.run_sync(partial(get, f"{server.url}/metrics"))).decode()
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(disco_\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r"(\w+)=\"", labels))
    return found


async def test_every_query_names_metrics_and_labels_that_exist(server: Server) -> None:
    metrics = await exposed(server)
    unknown = []
    for query in queries():
        named = SELECTOR.findall(query)
        asked = {label for _, labels in named for label in re.findall(r"(\w+)\s*[!=]~?=?\"", labels)}
        asked |= {label.strip() for labels in GROUPING.findall(query) for label in labels.split(",")}
        known = {label for name, _ in named for label in metrics.get(name, ())}
        unknown += [name for name, _ in named if name not in metrics] + sorted(asked - known)
    assert unknown == []


def test_a_query_for_something_else_would_be_found() -> None:
    assert SELECTOR.findall('rate(disco_a_total{x="1"}[5m]) > disco_b') == [
        ("disco_a_total", 'x="1"'),
        ("disco_b", ""),
    ]


def test_panels_have_titles_explanations_and_places_of_their_own() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        assert panel["description"]
        place = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & mine, panel["title"]
        assert max(x for x, _ in mine) < 24
        cells |= mine


@pytest.mark.parametrize("rule", ALERTS["groups"][0]["rules"], ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description"}
    assert re.fullmatch(r"\d+[smh]", rule["for"])
