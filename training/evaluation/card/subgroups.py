"""How good the answers are in whom: accuracy and AUC of every subgroup, with how far each could be off."""

from collections.abc import Sequence

from training.evaluation.bootstrap import intervals
from training.evaluation.card.judged import FEWEST, Judged, part, persons
from training.evaluation.metrics import evaluate
from training.evaluation.table import as_markdown

HEADER = ("task", "subgroup", "films", "patients", "ACC (95 %)", "AUC (95 %)")
NOTE = (
    "Test films of all folds together, each tested by a network that had not seen its patient; in brackets a 95 % bootstrap interval over "
    f"patients, in percent. AUC where every class occurs. Groups of fewer than {FEWEST} films have no figures. Groups are named as the "
    "data sets name them. They are compared with nothing else held equal: centre, view and outcome go together."
)


def subgroup_rows(judged: Judged, draws: int = 1000) -> list[tuple[str, ...]]:
    """Rows in the order of HEADER: all films, then every group of every grouping."""
    rows = []
    for grouping, group, films in judged.subgroups():
        name = f"{grouping}: {group}" if group else "all films"
        told = (judged.task.name, name, str(len(films)), str(persons(judged.predictions, films)))
        if len(films) < FEWEST:
            rows.append((*told, "too few", "too few"))
            continue
        chosen = part(judged.predictions, films)
        figures, ends = evaluate(judged.task, chosen), intervals(judged.task, chosen, draws)
        rows.append((*told, *(_cell(figures.get(metric), ends.get(metric)) for metric in ("acc", "auc"))))
    return rows


def subgroup_table(tasks: Sequence[Judged], draws: int = 1000) -> str:
    """Markdown: the table and what it is made of; one sentence where no fold has test films."""
    if not tasks:
        return "No fold of the served experiment has test films, so there are no figures of subgroups."
    return f"{as_markdown(HEADER, [row for judged in tasks for row in subgroup_rows(judged, draws)])}\n\n{NOTE}"


def _cell(figure: float | None, ends: tuple[float, float] | None) -> str:
    if figure is None:
        return "one class only"
    return f"{100 * figure:.1f}" + (f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})" if ends else "")
