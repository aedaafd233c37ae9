"""The report of a study: the paper's tables beside the paper's own figures, as one HTML page, Markdown and CSV."""

from training.evaluation.report.survey import ReportError
from training.evaluation.report.writing import write_report

__all__ = ["ReportError", "write_report"]
