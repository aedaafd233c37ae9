"""How figures of agreement with the senior radiologist are written down, with their intervals."""

from collections.abc import Mapping

import numpy as np

from training.evaluation.table import as_markdown
from training.evidence.charts import Span
from training.evidence.readers import METRICS, Floats

TITLES = {"acc": "same category", "kappa": "quadratic κ", "score_mae": "MAE of the global score"}
JUNIOR = "junior radiologist"
Figures = dict[str, Floats]  # metric → (1 + draws,): the figure on all films, then on draws of patients


def figures_table(everybody: Mapping[str, Figures]) -> str:
    """Markdown: a row for each reader, a column for each metric."""
    rows = [(who, *(figure_text(metric, figures[metric]) for metric in METRICS)) for who, figures in everybody.items()]
    return as_markdown(("who", *(TITLES[metric] for metric in METRICS)), rows)


def span(values: Floats) -> Span:
    """The figure on all films and the 95 % interval of the draws."""
    low, high = np.nanquantile(values[1:], (0.025, 0.975))
    return float(values[0]), float(low), float(high)


def figure_text(metric: str, values: Floats, signed: bool = False) -> str:
    """As in "0.83 (0.77 to 0.89)"; `signed` for a difference, which has no unit."""
    scale, digits, sign = (100, 1, "+" if signed else "") if metric == "acc" else (1, 2, "+" if signed else "")
    value, low, high = (f"{scale * v:{sign}.{digits}f}".replace("-", "−") for v in span(values))
    return f"{value} ({low} to {high})" + (" %" if metric == "acc" and not signed else "")
