"""The curves of a demonstration as a PNG."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt  # the backend is chosen before pyplot is imported
from matplotlib.ticker import MaxNLocator, PercentFormatter

from disco.demo.session import Outcome

#: Colours that stay apart for colour-blind readers. Source: Okabe and Ito 2008.
ALONE, TOGETHER = "#999999", "#0072B2"
STYLES = ("-", "--", ":", "-.")


def draw(outcome: Outcome, title: str, path: Path) -> None:
    """Draw the shared model's accuracy over the rounds, and everybody's alone, into a PNG."""
    figure, axes = plt.subplots(figsize=(8, 4.5), dpi=120)
    rounds = range(1, len(outcome.courses[0].together) + 1)
    for index, course in enumerate(outcome.courses):
        label = f"participant {index + 1} alone ({course.examples} examples)"
        axes.plot(rounds, course.alone, STYLES[index % len(STYLES)], color=ALONE, lw=1.6, label=label)
    shared = [min(values) for values in zip(*(course.together for course in outcome.courses), strict=True)]
    axes.plot(rounds, shared, color=TOGETHER, lw=2.6, marker="o", ms=4, label="together")
    axes.set_title(title, loc="left", fontsize=13)
    axes.set_xlabel("round")
    axes.set_ylabel("accuracy on data that nobody trained on")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="y", color="#dddddd", lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Title": title})
    plt.close(figure)
