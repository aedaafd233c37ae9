"""Which figures tell how well a task is answered."""

from cxr.tasks import TASKS
from training.evaluation import bootstrap
from training.evaluation.report.published import METRICS


def table_metrics(task: str) -> tuple[str, ...]:
    """For ordered classes also how far off an answer is: quadratic kappa and mean absolute error of the category."""
    return ("acc", "kappa", "mae") if TASKS[task].ordinal else METRICS


def interval_metrics(task: str) -> tuple[str, ...]:
    """What bootstrap intervals are given of."""
    return bootstrap.METRICS if TASKS[task].ordinal else tuple(m for m in bootstrap.METRICS if m not in ("kappa", "mae"))
