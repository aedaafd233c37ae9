"""What was run, how much of it is there, and what the networks started from."""

from training.evaluation.report.layout import Cell, Section, Table, cells
from training.evaluation.report.survey import Survey

STATES = ("finished", "quarantined", "missing")


def section(survey: Survey) -> Section:
    states = {
        (u.experiment, u.backbone, u.weights, u.subset, u.scheme, u.repeat, u.fold): u.state for u in survey.results.units
    }  # a unit of two tasks is one unit
    rows = []
    for experiment in survey.experiments:
        own: list[str] = [state for key, state in states.items() if key[0] == experiment]
        counts = [own.count(state) for state in STATES]
        rows.append(
            (Cell(survey.titles[experiment]), *(Cell(f"{n:,}", "missing" if n and i else "") for i, n in enumerate(counts)))
        )
    every: list[str] = list(states.values())
    rows.append(cells("all", *(f"{every.count(state):,}" for state in STATES)))
    counts_table = Table("Units of work: one training of one network on one fold", ("experiment", *STATES), tuple(rows))
    runs = {unit.run_id for unit in survey.results.units if unit.run_id and unit.state == "finished"}
    shared = f"The finished units are {len(runs):,} distinct trainings: equal work is done once and shared." if runs else ""
    return Section.of(
        "overview",
        "Overview",
        "Every number below comes from finished units only; what is quarantined or missing is listed under Failures.",
        counts_table,
        remarks=[text for text in (_start(survey), shared, _extent(survey)) if text],
    )


def _start(survey: Survey) -> str:
    """Which backbones started from ImageNet and which from random weights: it moves figures more than most other choices."""
    by_weights: dict[str, set[str]] = {}
    for unit in survey.results.units:
        by_weights.setdefault(unit.weights, set()).add(unit.backbone)
    phrases = {"imagenet": "from ImageNet weights", "scratch": "from scratch (random weights), marked “(scratch)” in every table"}
    parts = [
        f"{len(names)} started {phrases.get(weights, f'from {weights!r} weights')}: {', '.join(sorted(names))}"
        for weights, names in sorted(by_weights.items())
    ]
    advice = " The paper started all of its backbones from ImageNet." if set(by_weights) != {"imagenet"} else ""
    return f"Backbones: {'; '.join(parts)}.{advice}"


def _extent(survey: Survey) -> str:
    schemes = []
    for scheme in survey.schemes:
        folds = {(u.repeat, u.fold) for u in survey.results.units if u.scheme == scheme}
        schemes.append(f"{scheme.upper()} with {len(folds)} folds")
    return f"Schemes: {', '.join(schemes)}. Subsets of the films: {', '.join(survey.subsets)}."
