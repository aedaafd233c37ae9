"""What is not there, and why."""

from training.evaluation.report.layout import Cell, Section, Table, cells
from training.evaluation.report.survey import Survey, label

UNSAID = {"quarantined": "no reason was recorded", "missing": "not run yet, or its run is not finished"}
LONGEST = 400  # characters of a reason; the run's log has the rest


def section(survey: Survey) -> Section:
    found: dict[tuple[str, ...], dict[str, None]] = {}
    for unit in sorted(
        survey.results.units, key=lambda u: (u.state, u.experiment, u.backbone, u.subset, u.scheme, u.repeat, u.fold)
    ):
        if unit.state != "finished":
            reason = " ".join(unit.reason.split())[:LONGEST] or UNSAID[unit.state]
            place = f"{unit.fold}, repeat {unit.repeat}" if unit.repeat else unit.fold
            key = (unit.state, unit.title, label(unit), unit.subset, unit.scheme.upper(), reason)
            found.setdefault(key, {})[place] = None
    rows = tuple((Cell(key[0], "missing"), *cells(*key[1:5], ", ".join(folds), key[5])) for key, folds in found.items())
    columns = ("state", "experiment", "backbone", "films", "scheme", "folds", "reason")
    tables = (Table("Units without a result", columns, rows, prose=True),) if rows else ()
    return Section.of(
        "failures",
        "Failures",
        "Quarantined units failed more often than the recipe allows and are not tried again; missing ones have not been run to their end.",
        *tables,
        remarks=() if rows else ("Every unit is finished.",),
    )
