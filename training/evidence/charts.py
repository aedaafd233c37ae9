"""Charts of docs/evidence.md as PNG bytes. No films here."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

Span = tuple[float, float, float]  # value, low, high
OURS, THEIRS = "#1f6feb", "#c2410c"


def interval_chart(panels: Mapping[str, Mapping[str, Span]], reference: str) -> bytes:
    """One panel per metric: {title: {who: (value, low, high)}}, whoever is `reference` as a band behind the others."""
    first = next(iter(panels.values()))
    names = [name for name in first if name != reference]
    figure = Figure(figsize=(4.0 * len(panels) + 1.5, 0.34 * len(names) + 1.4), layout="constrained")
    FigureCanvasAgg(figure)
    for i, (title, spans) in enumerate(panels.items()):
        axis = figure.add_subplot(1, len(panels), i + 1)
        value, low, high = spans[reference]
        axis.axvspan(low, high, color=THEIRS, alpha=0.12, linewidth=0)
        axis.axvline(value, color=THEIRS, label=reference)
        places = np.arange(len(names))[::-1]
        found = np.array([spans[name] for name in names])
        axis.errorbar(
            found[:, 0], places, xerr=[found[:, 0] - found[:, 1], found[:, 2] - found[:, 0]], fmt="o", color=OURS, capsize=2
        )
        axis.set(title=title, ylim=(-0.7, len(names) - 0.3))
        axis.set_yticks(places, names if i == 0 else [""] * len(names))
        axis.grid(axis="x", alpha=0.3)
        if i == 0:
            figure.legend(*axis.get_legend_handles_labels(), fontsize=8, loc="outside lower center")  # inside it hid a network
    return png(figure)


def reliability_chart(answers: Mapping[str, tuple[NDArray[np.float64], NDArray[np.int64]]], bins: int = 8) -> bytes:
    """{who: (probabilities (N, C), truth (N,))} → share right against confidence, one line each; the size of a dot is its films."""
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    axis.plot([0, 1], [0, 1], color="gray", linestyle=":")
    for who, (probabilities, truth) in answers.items():
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
        place = np.minimum((confidence * bins).astype(int), bins - 1)
        used: Sequence[int] = np.unique(place).tolist()
        x, y = ([values[place == b].mean() for b in used] for values in (confidence, right))
        (line,) = axis.plot(x, y, label=f"{who} ({len(truth)} films)")
        axis.scatter(x, y, s=[6 + 2.0 * (place == b).sum() for b in used], color=line.get_color())
    axis.set(xlabel="confidence", ylabel="share right", xlim=(0, 1), ylim=(0, 1))
    axis.legend(fontsize=8)
    return png(figure)


def curve_chart(lines: Mapping[str, Sequence[Span]], places: Sequence[float], across: str, upwards: str) -> bytes:
    """{who: [(value, low, high) at each of `places`]} as lines with bands; `across` and `upwards` name the axes."""
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    for who, spans in lines.items():
        value, low, high = np.array(spans).T
        (line,) = axis.plot(places, value, "o-", label=who)
        axis.fill_between(places, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axis.set(xlabel=across, ylabel=upwards)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return png(figure)


def png(figure: Figure) -> bytes:
    """The same bytes every time."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()
