"""A computer-drawn chest X-ray cohort in the layouts of the published data sets, with a known best possible accuracy."""

from training.data.cohorts.phantom.generation import PhantomError, PhantomReport, generate, is_generated
from training.data.cohorts.phantom.severity import bayes_accuracy, bayes_probability
from training.data.cohorts.phantom.sheet import contact_sheet, render_example
from training.data.cohorts.phantom.spec import PhantomSpec

__all__ = [
    "PhantomError", "PhantomReport", "PhantomSpec", "bayes_accuracy", "bayes_probability", "contact_sheet", "generate",
    "is_generated", "render_example",
]  # fmt: skip
