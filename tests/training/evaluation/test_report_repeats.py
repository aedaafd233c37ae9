"""Over seeds: pairs of backbone and repeat, compared as scipy compares them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_rel

from tests.training.evaluation.synthetic_study import study
from training.evaluation.report.repeats import comparisons, section
from training.evaluation.report.survey import Survey
from training.evaluation.results import Results


def repeated(times: int = 3) -> Results:
    """The synthetic study once per seed."""
    parts = [study(subsets={"all": 60}, seed=seed) for seed in range(times)]
    units = tuple(replace(unit, repeat=i) for i, part in enumerate(parts) for unit in part.units)
    return replace(parts[0], units=units)


def test_a_study_without_repeats_has_no_such_section() -> None:
    assert section(Survey(study(subsets={"all": 40}))) is None


def test_a_pair_is_the_mean_over_the_folds_of_one_backbone_and_one_repeat() -> None:
    results = repeated()
    found = {(b, m): (ours, theirs, c) for b, m, ours, theirs, c in comparisons(Survey(results), "all", "cv")}
    ours, theirs, comparison = found["stl-prognosis", "acc"]
    assert len(ours) == comparison.n == 3 * 3

    def by_hand(experiment: str, backbone: str, repeat: int) -> float:
        chosen = [
            u.figures["acc"] for u in results.units
            if (u.experiment, u.backbone, u.repeat, u.scheme, u.task) == (experiment, backbone, repeat, "cv", "prognosis")
        ]  # fmt: skip
        return float(np.mean(chosen))

    assert ours["resnet18, repeat 2"] == pytest.approx(by_hand("mdmt", "resnet18", 2))
    assert theirs["resnet18, repeat 2"] == pytest.approx(by_hand("stl-prognosis", "resnet18", 2))
    expected = ttest_rel([ours[k] for k in sorted(ours)], [theirs[k] for k in sorted(ours)], alternative="greater")
    assert comparison.p == pytest.approx(expected.pvalue)


def test_a_repeat_with_a_missing_fold_is_no_pair() -> None:
    results = repeated()
    lost = next(u for u in results.units if (u.experiment, u.repeat, u.scheme, u.task) == ("mdmt", 1, "cv", "prognosis"))
    units = tuple(replace(u, state="missing", test=None, figures={}) if u is lost else u for u in results.units)
    _, _, ours, _, comparison = comparisons(Survey(replace(results, units=units)), "all", "cv")[0]
    assert comparison.n == 8
    assert f"{lost.backbone}, repeat 1" not in {name.replace(" (scratch)", "") for name in ours}
    table = section(Survey(replace(results, units=units))).tables[0]
    assert all(cell.text.strip() for row in table.rows for cell in row)
