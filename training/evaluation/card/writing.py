"""The facts of a version → its card, Markdown for people."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from training.evaluation.card.checklists import checklists
from training.evaluation.card.facts import NOTICE, CardFacts
from training.evaluation.card.failures import confusion_table, errors_by_confidence
from training.evaluation.card.subgroups import subgroup_table
from training.evaluation.card.trust import calibration_table
from training.evaluation.conformal import ALPHA
from training.evaluation.table import as_markdown

TEMPLATE = "model_card.md.j2"
ESTIMATE = ("scheme", "task", "films", "ACC", "F1", "G-mean", "AUC")


def model_card(facts: CardFacts) -> str:
    """Raises UndefinedError where a fact is missing: a card with something left out is not written."""
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True,
        trim_blocks=True, lstrip_blocks=True,
    ).get_template(TEMPLATE)  # fmt: skip
    return template.render(
        notice=NOTICE,
        facts=facts,
        estimate=as_markdown(ESTIMATE, facts.lines),
        subgroups=subgroup_table(facts.judged),
        calibration=calibration_table(facts.judged) if facts.judged else "",
        confusions=[confusion_table(judged) for judged in facts.judged],
        errors=errors_by_confidence(facts.judged) if facts.judged else "",
        coverage=round(100 * (1 - ALPHA)),
        checklists=[(checklist.title, checklist.markdown(facts)) for checklist in checklists()],
    )
