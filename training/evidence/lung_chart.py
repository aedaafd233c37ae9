"""Dice per source as a picture: a dot for every film, a box around the middle half, and where two annotators agree."""

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def dice_chart(sources: Mapping[str, Sequence[float]], humans: float | None) -> bytes:
    """PNG of the Dice per film, by source; `humans` is the median of two annotators. ValueError without sources."""
    if not sources:
        raise ValueError("no sources; a chart needs at least one")
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    places = np.arange(1, len(sources) + 1)
    axis.boxplot(list(sources.values()), positions=places, widths=0.5, showfliers=False, medianprops={"color": "black"})
    for place, values in zip(places, sources.values(), strict=True):
        beside = np.random.default_rng(0).uniform(-0.15, 0.15, len(values))
        axis.plot(place + beside, values, "o", color="tab:blue", markersize=4, alpha=0.6)
    if humans is not None:
        axis.axhline(humans, color="tab:orange", linestyle="--", label=f"two annotators, median {humans:.3f}")
        axis.legend(loc="lower right", fontsize=8)
    labels = [f"{name}\nn = {len(values)}" for name, values in sources.items()]
    axis.set(xticks=places, xticklabels=labels, ylabel="Dice", title="Lungs found on held-out films", ylim=(None, 1.0))
    axis.grid(axis="y", alpha=0.3)
    content = BytesIO()
    figure.savefig(content, dpi=110, format="png", metadata={"Software": None})
    return content.getvalue()
