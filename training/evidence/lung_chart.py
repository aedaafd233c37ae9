"""Dice per source as a picture: a dot for every film, its mean and the middle half where there are enough, two annotators, the goal."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.evidence.charts import png

BOXED = 10  # films: quarters of fewer say nothing
GOAL, OURS, THEIRS = "tab:green", "tab:blue", "tab:orange"


def dice_chart(sources: Mapping[str, Sequence[float]], humans: Sequence[float], goal: float) -> bytes:
    """PNG of the Dice per film, by source, and of two annotators (`humans`, may be empty); a line at `goal`, which is one for means.
    ValueError without sources."""
    if not sources:
        raise ValueError("no sources; a chart needs at least one")
    columns = [(f"{name}\n", values, OURS) for name, values in sources.items()]
    columns += [("two annotators\n", humans, THEIRS)] if humans else []
    figure = Figure(figsize=(1.9 * len(columns) + 1.6, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    for place, (_, values, colour) in enumerate(columns):
        beside = np.random.default_rng(0).uniform(-0.15, 0.15, len(values))
        axis.plot(place + beside, values, "o", color=colour, markersize=4, alpha=0.5, zorder=2)
        if len(values) >= BOXED:
            axis.boxplot([values], positions=[place], widths=0.5, showfliers=False, medianprops={"color": "gray"}, zorder=1)
        axis.plot(place, np.mean(values), "D", color="black", markersize=5, zorder=4, label="mean" if place == 0 else None)
    axis.axhline(goal, color=GOAL, linestyle="--", zorder=3, label=f"goal for the mean, {goal:g}")
    labels = [f"{name}n = {len(values)}" for name, values, _ in columns]
    axis.set(ylabel="Dice", title="Lungs found on held-out films", xlim=(-0.6, len(columns) - 0.4), ylim=(None, 1.0))
    axis.set_xticks(range(len(columns)), labels, fontsize=8)
    axis.legend(loc="lower right", fontsize=8)
    axis.grid(axis="y", alpha=0.3)
    return png(figure)
