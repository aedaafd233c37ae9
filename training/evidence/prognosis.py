"""The part of docs/evidence.md on prognosis: the paper's question on real films, with the controls that it needs."""

from collections.abc import Mapping, Sequence

import numpy as np

from cxr.tasks import PROGNOSIS
from training.data.cohort import Row
from training.evaluation.metrics import expected_calibration_error
from training.evaluation.report import headline, repeats, significance
from training.evaluation.report.layout import Cell, Section
from training.evaluation.report.survey import Survey
from training.evaluation.results import Line
from training.evaluation.statistics import compare
from training.evaluation.table import HEADER, as_markdown
from training.evaluation.table import rows as comparison_rows
from training.evidence import charts
from training.evidence.answers import Answered, answered
from training.evidence.energy import energy_table
from training.evidence.page import Part, picture
from training.evidence.patients import Floats, by_film, by_patient, control, table, truth_of
from training.evidence.subgroups import subgroups
from training.evidence.trust import trust_table
from training.evidence.variants import cost_of, finished_variants
from training.protocol.recipe import SERVED
from training.protocol.study import Study, View
from training.protocol.summary import compare as lines_of

CONTROLS = {"view position alone": ("view",), "age group and sex alone": ("age_group", "sex")}
Given = dict[str, tuple[Sequence[Row], Floats]]


def part(study: Study, view: View) -> Part:
    """What the recipe and its finished variants have shown."""
    own = [one for one in answered(study, view) if one.task == PROGNOSIS.name]
    variants = finished_variants(study)
    others = {name: [a for a in answered(v, view) if a.task == PROGNOSIS.name] for name, v in variants.items()}
    results = study.results()
    survey = Survey(results)
    lines = [line for line in lines_of(results) if line.task == PROGNOSIS.name]
    cv = [one for one in own if one.scheme == "cv"]
    return Part(
        study.recipe.name,
        "Prognosis: does learning severity too help?",
        (
            _about(cv[0].rows, study),
            "### The paper's question",
            _verdict(study, lines),
            as_markdown(HEADER, comparison_rows(lines)),
            *_tables(headline.section(survey)),
            *_tables(significance.section(survey)),
            *_tables(repeats.section(survey)),
            "### Severity and zones as further tasks",
            _further(variants.get("zones")),
            "### In whom",
            subgroups(study, view),
            "### By patient",
            "Every patient once, with the mean over the patient's films; cross-validation, first repeat.",
            table(_named(cv), by_patient),
            "### Controls: what gives the outcome away",
            _controls_say(),
            table(_controls(cv, others), by_film),
            "### Honest films",
            *_honest(others.get("honest", [])),
            "### What the probabilities are worth",
            trust_table(study, PROGNOSIS),
            picture("prognosis-reliability.png", "Share of films answered right against the confidence of the answer"),
            "### Where the networks look",
            energy_table(study, view, SERVED),
            cost_of(study, variants),
        ),
        {"prognosis-reliability.png": _reliability(cv)},
    )


def _about(rows: Sequence[Row], study: Study) -> str:
    truth, patients = truth_of(rows), {row.patient: row.labels[PROGNOSIS.name] for row in rows}
    severe, people = int(truth.sum()), sum(patients.values())
    return (
        f"{len(rows)} films of {len(patients)} patients: {len(rows) - severe} MILD ({len(patients) - people} patients), {severe} SEVERE "
        f"({people}). {len(study.recipe.backbones)} backbones at {study.recipe.pipeline.size} px; patients of both data sets are split "
        "together. View, devices and the time of the film leak the outcome here (see the controls), so no figure of this part is "
        "evidence that outcomes can be foretold. The paper's figures stand in the tables as its report prints them: other films, "
        "other labels."
    )


def _verdict(study: Study, lines: Sequence[Line]) -> str:
    """In words, from the figures: on how many backbones MDMT is above STL, and the one-tailed test."""
    texts = []
    for scheme in study.recipe.schemes:
        for metric in ("acc", "auc"):
            ours, theirs = (_means(lines, name, scheme.kind, metric) for name in (SERVED, "stl-prognosis"))
            if ours.keys() != theirs.keys() or not ours:
                continue
            found = compare(metric, "mean", "MDMT", ours, "STL τ1", theirs)
            higher = sum(ours[name] > theirs[name] for name in ours)
            texts.append(
                f"- {scheme.kind.upper()}, {metric.upper()}: MDMT is above STL τ1 on {higher} of {found.n} backbones, by "
                f"{100 * found.difference:+.1f} points in the mean (one-tailed paired t-test p = {found.p:.3f}, d = {found.effect:.2f})."
            )
    return "\n".join(texts)


def _means(lines: Sequence[Line], experiment: str, scheme: str, metric: str) -> dict[str, float]:
    """{backbone: mean over folds}"""
    return {
        f"{line.backbone} ({line.weights})": float(np.mean(line.folds[metric]))
        for line in lines
        if (line.experiment, line.scheme) == (experiment, scheme) and line.folds[metric] and not line.missing
    }


def _further(study: Study | None) -> str:
    """Does it help to learn the zones as well? Against MDMT, per backbone and scheme."""
    if study is None:
        return "Not run to the end, so not shown: `mdmt run --recipe real-prognosis+zones`."
    lines = [line for line in lines_of(study.results()) if line.task == PROGNOSIS.name]
    return as_markdown(HEADER, comparison_rows([line for line in lines if line.experiment != "stl-prognosis"]))


def _tables(section: Section | None) -> list[str]:
    """A section of the report as blocks of Markdown; none for a section that the study has nothing for."""
    if section is None:
        return []
    blocks = [section.reading]
    for one in section.tables:
        fields = [[_field(cell) for cell in row] for row in one.rows]
        blocks += [f"**{one.caption}**", as_markdown(one.flat_columns, fields), *one.notes]
    return [*blocks, *section.remarks]


def _field(cell: Cell) -> str:
    """As in the report's Markdown: the best is bold, and stars are stars."""
    return f"**{cell.text}**" if cell.kind == "best" and "*" not in cell.text else cell.text.replace("*", "\\*")


def _named(answers: Sequence[Answered]) -> Given:
    return {f"{one.title}, {one.backbone}": (one.rows, one.probabilities) for one in answers if one.repeat == 0}


def _controls_say() -> str:
    return (
        "Logistic regressions that see one column of the table and no film (five folds by patient); the network on the lungs alone, all "
        "else black; and the network trained and tested on outcomes dealt out anew among the patients, which must come to 50 % AUC. What "
        "a network is above view position alone is the most that its films can have told it."
    )


def _controls(cv: Sequence[Answered], others: Mapping[str, Sequence[Answered]]) -> Given:
    first = cv[0]
    found: Given = {f"{first.title}, {first.backbone}, films as they are": (first.rows, first.probabilities)}
    for name in ("masked", "shuffled"):
        for one in others.get(name, ())[:1]:
            found[f"{one.title}, {one.backbone}, {name}"] = (one.rows, one.probabilities)
    known = {name for row in first.rows for name in row.attributes}
    for who, attributes in CONTROLS.items():
        if set(attributes) <= known:
            found[who] = (first.rows, control(first.rows, attributes))
    return found


def _honest(answers: Sequence[Answered]) -> list[str]:
    if not answers:
        return ["Not run to the end, so not shown: `mdmt run --recipe real-prognosis+honest`."]
    rows = answers[0].rows
    mild = sum(row.labels[PROGNOSIS.name] == 0 for row in rows)
    about = (
        f"Only films from before intensive care or of patients who were not there then, outcomes from structured fields: {len(rows)} "
        f"films, {mild} of them MILD, of {len({row.patient for row in rows})} patients. By film, then by patient; view alone beside them."
    )
    given = _named(answers) | {"view position alone": (rows, control(rows, CONTROLS["view position alone"]))}
    return [about, table(given, by_film), table(given, by_patient)]


def _reliability(cv: Sequence[Answered]) -> bytes:
    shown = {}
    for one in cv:
        if one.backbone == cv[0].backbone and one.repeat == 0:
            error = float(expected_calibration_error(truth_of(one.rows), one.probabilities))
            shown[f"{one.title}, ECE {error:.2f}"] = (one.probabilities, truth_of(one.rows))
    return charts.reliability_chart(shown)
