"""Where the numbers come from and how they were made."""

from training.evaluation.report.layout import Section, Table, cells
from training.evaluation.report.survey import Survey

METHODS = (
    ("mean", "over test folds (and repeats), each fold counting the same"),
    ("sd (σ)", "sample standard deviation over test folds (n − 1)"),
    ("over backbones", "mean over backbones that have every fold of every method compared; each backbone counts the same"),
    ("pooled", "the test films of all folds together, each counted once (first repeat)"),
    ("95 % interval", "percentile bootstrap of the pooled films, drawing persons, not films; no allowance for training anew"),
    ("F1", "of the task's positive class (SEVERE for prognosis, as in Table 1 of the paper); macro for tasks without one"),
    ("G-mean", "geometric mean of the recalls of all classes"),
    ("AUC", "area under the ROC curve of the probabilities, not of hard labels; folds with one class only have none"),
    ("temperature", "one number per fold and task, fitted on validation films only; it changes no label"),
    ("significance", "one-tailed paired t-test over backbones matched by name; Wilcoxon and Holm beside it"),
)


def section(survey: Survey) -> Section:
    given = survey.results.provenance
    tables = [Table("How each number was made", ("number", "how"), tuple(cells(*row) for row in METHODS), prose=True)]
    if given:
        rows = tuple(cells(name, str(value) or "not recorded") for name, value in given.items())
        tables.append(Table("Where the numbers come from", ("what", "value"), rows, prose=True))
    return Section.of(
        "provenance",
        "Provenance",
        "What must be known to get these numbers again.",
        *tables,
        remarks=() if given else ("No provenance was recorded with these results.",),
    )
