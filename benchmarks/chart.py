"""A report as a chart: how many times better than each peer Disco is, on a logarithmic scale."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from benchmarks.measuring import OURS, SERVERS, Report

COLORS = {
    "memory": "#bcbd22",
    "hypercorn": "#7f7f7f",
    "node": "#2ca02c",
    "flower": "#ff7f0e",
    "flower_bare": "#ffbb78",
    "superlink": "#8c564b",
    "stock": "#1f77b4",
    "tcp": "#9467bd",
}
INCHES_A_ROW = 0.3


def draw(report: Report, path: Path) -> None:
    """Write the chart as an SVG file that is the same, byte for byte, for the same report."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "disco"
    mpl.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    rows = [row for row in report.rows if any(server != OURS for server in row.samples)]
    figure, axes = pyplot.subplots(figsize=(10, 1.5 + INCHES_A_ROW * len(rows)))
    peers = [server for server in SERVERS if server != OURS and any(server in row.samples for row in rows)]
    for peer in peers:
        points = [(row.ratio(peer), place) for place, row in enumerate(rows) if peer in row.samples]
        points = [(ratio, place) for ratio, place in points if math.isfinite(ratio) and ratio > 0]
        if points:
            across, down = zip(*points, strict=True)
            axes.scatter(across, down, label=SERVERS[peer], color=COLORS[peer], s=36, zorder=2)
    _dress(axes, [f"{row.group}: {row.work}" for row in rows])
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _dress(axes: Any, names: list[str]) -> None:
    """Name what is drawn."""
    axes.axvline(1.0, color="black", linewidth=1, zorder=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="both", color="#dddddd", zorder=0)
    axes.set_xlabel("how many times better than the peer Disco is (right of 1 is better)")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.4, 1.0 + 1.2 / (len(names) + 4)), ncols=5, frameon=False
        )
