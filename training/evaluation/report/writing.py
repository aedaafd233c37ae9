"""Results → a folder that a reader opens: report.html (one file, no network, no script), report.md, results.csv, units.csv."""

from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from training.evaluation.card.facts import NOTICE
from training.evaluation.report import (
    backbones,
    centres,
    failures,
    folds_pictures,
    headline,
    other_tasks,
    overview,
    provenance,
    repeats,
    significance,
    trust,
)
from training.evaluation.report.csv_files import write_results, write_units
from training.evaluation.report.layout import Section
from training.evaluation.report.survey import Survey
from training.evaluation.results import Results

FILES = ("report.html", "report.md", "results.csv", "units.csv")


def write_report(results: Results, folder: Path) -> Path:
    """Write `FILES` into `folder` (made when absent, files of an earlier report replaced); returns the path of report.html.

    The CSV files are functions of predictions and figures alone. Raises ReportError for results of which no report can be made.
    """
    survey = Survey(results)
    folder.mkdir(parents=True, exist_ok=True)
    parts = sections(survey)
    for name in FILES[:2]:
        (folder / name).write_text(_render(name, results, parts), encoding="utf-8")
    write_results(survey, folder / FILES[2])
    write_units(survey, folder / FILES[3])
    return folder / FILES[0]


def sections(survey: Survey) -> list[Section]:
    """The report in the order in which it is read."""
    parts = [
        overview.section(survey),
        headline.section(survey),
        significance.section(survey),
        repeats.section(survey),
        backbones.section(survey),
        other_tasks.section(survey),
        centres.section(survey),
        folds_pictures.scatter_section(survey),
        folds_pictures.curves_section(survey),
        trust.section(survey),
        failures.section(survey),
        provenance.section(survey),
    ]
    return [part for part in parts if part is not None]


def _render(name: str, results: Results, parts: list[Section]) -> str:
    environment = Environment(
        undefined=StrictUndefined,
        autoescape=name.endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["drawn"] = Markup  # our own SVG, its texts escaped when it was drawn
    environment.filters["field"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    template = resources.files(__package__).joinpath(f"{name}.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(results=results, sections=parts, notice=NOTICE)
