"""What joint learning does to the tasks beside the headline: for the paper, τ2, the severity category."""

from training.evaluation.report import published
from training.evaluation.report.headline import table
from training.evaluation.report.layout import Section
from training.evaluation.report.survey import Survey
from training.evaluation.report.task_metrics import table_metrics


def section(survey: Survey) -> Section:
    others = survey.tasks[1:]
    return Section.of(
        "other-tasks",
        "Severity (τ2)" if others == ("severity",) else "The other tasks",
        "Mean over backbones of the mean over folds: accuracy in percent, quadratic kappa (1 is perfect, 0 is chance) and mean absolute "
        "error in categories (0 is perfect); our best is bold.",
        *[table(survey, subset, table_metrics(task), False, task) for task in others for subset in survey.subsets],
        remarks=() if not others else (published.SEVERITY_REMARK,) if "severity" in others else (),
    )
