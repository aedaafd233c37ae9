"""The part of docs/evidence.md on severity: networks beside the junior radiologist, the senior being the reference."""

from collections.abc import Mapping, Sequence

import numpy as np

from cxr.tasks import SEVERITY
from training.data.cohort import Row
from training.evaluation.metrics import expected_calibration_error
from training.evaluation.table import as_markdown
from training.evidence import charts
from training.evidence.agreement import JUNIOR, TITLES, Figures, figure_text, figures_table, span
from training.evidence.answers import Answered, answered
from training.evidence.page import Part, picture
from training.evidence.readers import (
    LOWER_IS_BETTER,
    METRICS,
    Floats,
    Reading,
    agreement,
    by_reader,
    draws_of,
    of_all_zones,
    readings,
)
from training.evidence.trust import trust_table
from training.evidence.variants import cost_of, finished_variants
from training.protocol.study import Study, View

BASE = "stl-severity"


def part(study: Study, view: View) -> Part:
    """What the recipe and its finished variants have shown."""
    own = answered(study, view)
    rows = own[0].rows
    weights = draws_of(rows)
    truth = by_reader(rows, "zones")
    found = {JUNIOR: agreement(truth, by_reader(rows, "second"), weights)}
    single: dict[str, Figures] = {}
    variants = finished_variants(study)
    every = {"": own, **{name: answered(one, view) for name, one in variants.items()}}
    for name, answers in every.items():
        for (experiment, _), repeats in readings(answers).items():
            title = next(a.title for a in answers if a.experiment == experiment) + (f", {name}" if name else "")
            single[title] = _over_repeats(truth, repeats, weights)
            if "ensemble" in repeats:
                found[f"{title}, both repeats together"] = agreement(truth, repeats["ensemble"], weights)
    if (all_zones := of_all_zones(one for answers in every.values() for one in answers)) is not None:
        found["all networks with zones together"] = agreement(truth, all_zones, weights)
    base = next(a.title for a in own if a.experiment == BASE)
    everybody = {**found, **single}
    best = max((name for name in everybody if name != JUNIOR), key=lambda name: everybody[name]["kappa"][0])
    panels = {TITLES[m]: {who: span(figures[m]) for who, figures in {JUNIOR: found[JUNIOR], **single}.items()} for m in METRICS}
    return Part(
        study.recipe.name,
        "Severity against radiologists",
        (
            _about(rows, study),
            "### Goal: beat the junior",
            _goals(everybody, best),
            "### Everybody against the senior",
            figures_table(everybody),
            picture("severity.png", "Agreement with the senior radiologist: networks with 95 % intervals, the junior as a band"),
            "### What helped",
            _levers(single, base),
            "### What the probabilities are worth",
            trust_table(study, SEVERITY),
            picture("severity-reliability.png", "Share of films answered right against the confidence of the answer"),
            cost_of(study, variants),
        ),
        {"severity.png": charts.interval_chart(panels, JUNIOR), "severity-reliability.png": _reliability(own)},
    )


def _over_repeats(truth: Reading, repeats: Mapping[str, Reading], weights: Floats) -> Figures:
    """The mean over repeats of each figure: what one training gives."""
    each = [agreement(truth, reading, weights) for name, reading in repeats.items() if name != "ensemble"]
    return {metric: np.mean([figures[metric] for figures in each], axis=0) for metric in METRICS}


def _about(rows: Sequence[Row], study: Study) -> str:
    patients, scheme = len({row.patient for row in rows}), study.recipe.schemes[0]
    return (
        f"{len(rows)} films of {patients} patients that two radiologists scored. Networks: {study.recipe.backbones[0].name} from ImageNet "
        f"weights unless said otherwise, {study.recipe.pipeline.size} px, {scheme.folds}-fold cross-validation by patient, "
        f"{scheme.repeats} times with other splits and seeds; every film is answered by networks that have not seen its patient. The "
        "score is the expected one: of the sum of the zones, of the global score, or of the middles of the categories, whichever the "
        "network answers. Intervals: 95 %, bootstrap over patients; they hold for these films, not for another hospital's."
    )


def _goals(everybody: Mapping[str, Figures], best: str) -> str:
    rows = []
    for metric in METRICS:
        sign = -1 if metric in LOWER_IS_BETTER else 1
        gain = sign * (everybody[best][metric] - everybody[JUNIOR][metric])
        verdict = "reached" if gain[0] > 0 else "not reached"
        rows.append(
            (
                TITLES[metric],
                figure_text(metric, everybody[JUNIOR][metric]),
                figure_text(metric, everybody[best][metric]),
                verdict,
            )
        )
    table = as_markdown(("", JUNIOR, f"best network: {best}", "beat the junior"), rows)
    return f"{table}\n\nThe best network is the one of highest κ on these same films, which flatters it."


def _levers(single: Mapping[str, Figures], base: str) -> str:
    """Each lever's paired difference from the single task, and what follows."""
    rows = []
    for name, figures in single.items():
        if name == base:
            continue
        steps = {metric: figures[metric] - single[base][metric] for metric in METRICS}
        rows.append((name, *(figure_text(metric, steps[metric], signed=True) for metric in METRICS), _verdict(steps["kappa"])))
    note = "Paired differences from the single task with the same films. Helped or harmed: the interval of κ leaves zero out."
    return as_markdown(("lever", *(TITLES[metric] for metric in METRICS), "κ"), rows) + f"\n\n{note}"


def _verdict(steps: Floats) -> str:
    _, low, high = span(steps)
    return "helped" if low > 0 else "harmed" if high < 0 else "no difference shown"


def _reliability(own: Sequence[Answered]) -> bytes:
    shown = {}
    for one in own:
        if one.task == SEVERITY.name and one.repeat == 0:
            truth = np.array([row.labels[SEVERITY.name] for row in one.rows])
            error = float(expected_calibration_error(truth, one.probabilities))
            shown[f"{one.title}, ECE {error:.2f}"] = (one.probabilities, truth)
    return charts.reliability_chart(shown)
