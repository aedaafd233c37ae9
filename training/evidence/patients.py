"""Outcomes by patient and by film: networks, and controls that never look at the lungs."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from cxr.tasks import PROGNOSIS
from training.data.cohort import Row
from training.evaluation.bootstrap import intervals
from training.evaluation.metrics import Predictions, evaluate
from training.evaluation.table import as_markdown

Floats = NDArray[np.float64]
METRICS = ("acc", "f1", "gmean", "auc")
FOLDS, SEED = 5, 0


def truth_of(rows: Sequence[Row]) -> NDArray[np.int64]:
    """(N,) outcomes as class indices."""
    return np.array([row.labels[PROGNOSIS.name] for row in rows])


def by_film(rows: Sequence[Row], probabilities: Floats) -> Predictions:
    """Probabilities (N, 2) of rows → predictions, with persons numbered."""
    _, persons = np.unique([row.patient for row in rows], return_inverse=True)
    return Predictions(tuple(row.id for row in rows), truth_of(rows), probabilities, persons.astype(np.int64))


def by_patient(rows: Sequence[Row], probabilities: Floats) -> Predictions:
    """The mean over each patient's films, one answer per patient: a patient with twenty films counts once. One outcome per patient."""
    films = by_film(rows, probabilities)
    assert films.patients is not None
    persons = np.unique(films.patients)
    means = np.stack([probabilities[films.patients == person].mean(axis=0) for person in persons])
    first = [int(np.flatnonzero(films.patients == person)[0]) for person in persons]
    return Predictions(tuple(str(p) for p in persons), films.truth[first], means, persons)


def control(rows: Sequence[Row], attributes: Sequence[str]) -> Floats:
    """Probabilities (N, 2) of a logistic regression that sees nothing but these attributes of a row, each film answered by one fitted to
    other patients. A value that is not known is a value of its own."""
    values = [tuple(row.attributes.get(name, "") for name in attributes) for row in rows]
    columns = [np.eye(len(set(column)))[np.unique(column, return_inverse=True)[1]] for column in zip(*values, strict=True)]
    seen, truth = np.concatenate(columns, axis=1), truth_of(rows)
    patients = [row.patient for row in rows]
    probabilities = np.zeros((len(rows), 2))
    for fitting, held in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED).split(seen, truth, patients):
        model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(seen[fitting], truth[fitting])
        probabilities[held] = model.predict_proba(seen[held])
    return probabilities


def table(answers: Mapping[str, tuple[Sequence[Row], Floats]], joined: Callable[[Sequence[Row], Floats], Predictions]) -> str:
    """{who: (rows, probabilities)} → Markdown: METRICS with 95 % intervals over patients, of all test films (or patients) together."""
    lines = []
    for who, (rows, probabilities) in answers.items():
        given = joined(rows, probabilities)
        figures, spans = evaluate(PROGNOSIS, given), intervals(PROGNOSIS, given)
        lines.append((who, len(given), *(_text(figures.get(metric), spans.get(metric)) for metric in METRICS)))
    unit = "films" if joined is by_film else "patients"
    return as_markdown(("who", unit, "ACC", "F1", "G-mean", "AUC"), lines)


def _text(value: float | None, span: tuple[float, float] | None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.1f}" + (f" ({100 * span[0]:.1f} to {100 * span[1]:.1f})" if span else "")
