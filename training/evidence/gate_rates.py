"""What the input gate lets through and what it refuses, by gates that have not seen the patient."""

from collections.abc import Collection, Mapping, Sequence

from sklearn.model_selection import GroupKFold

from cxr.gate import Gate
from training.evidence.gate_cases import AS_IT_IS, SPOILT, Shown, as_fitted
from training.evidence.rates import Rate
from training.input_gate import FOLDS, fit_gate


def held_out(shown: Sequence[Shown]) -> dict[str, Rate]:
    """By kind of picture: how many are let through by gates that were fitted to other patients. Without lungs counts as refused."""
    passed = {kind: [0, 0] for kind in (AS_IT_IS, *SPOILT)}
    for fitting, held in GroupKFold(FOLDS).split(shown, groups=[film.patient for film in shown]):
        gate = Gate(fit_gate(as_fitted([shown[i] for i in fitting])))
        assert gate.model is not None
        for kind, measured in (found for i in held for found in shown[i].measured.items()):
            passed[kind][0] += measured is not None and gate.score(measured) <= gate.model.threshold
            passed[kind][1] += 1
    return {kind: Rate(*counts) for kind, counts in passed.items()}


def refused(passed: Mapping[str, Rate]) -> dict[str, Rate]:
    """By kind of spoilt picture, as far as any were shown."""
    return {kind: Rate(rate.n - rate.count, rate.n) for kind, rate in passed.items() if kind != AS_IT_IS and rate.n}


def every(rates: Collection[Rate]) -> Rate:
    """All of them as one."""
    return Rate(sum(rate.count for rate in rates), sum(rate.n for rate in rates))


def without(shown: Sequence[Shown], patients: Collection[str]) -> Gate:
    """The gate fitted to the films of all other patients. Raises ValueError where these are too few."""
    return Gate(fit_gate([film for film in as_fitted(shown) if film.patient not in patients]))
