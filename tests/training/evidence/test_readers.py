from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr.tasks import SEVERITY, ZONES, severity_category
from training.data.cohort import Row
from training.evidence.answers import Answered
from training.evidence.readers import DRAWS, Reading, agreement, by_network, by_reader, draws_of, of_all_zones


def row(name: str, patient: str, zones: str, second: str) -> Row:
    attributes = {"zones": zones, "second": second}
    return Row(name, Path(name), patient, "COHEN", {"severity": severity_category(sum(map(int, zones)))}, attributes)


def answer(task: str, probabilities: np.ndarray) -> Answered:
    return Answered("zones", "zones", "resnet18", "all", "cv", 0, task, (), probabilities)


def certain(values: list[int], classes: int) -> np.ndarray:
    return np.eye(classes)[values]


@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=5))
def test_certain_zones_give_their_sum_and_its_category(scores: list[list[int]]) -> None:
    found = by_network({zone.name: certain([film[i] for film in scores], 4) for i, zone in enumerate(ZONES)})
    sums = [sum(film) for film in scores]
    assert found.category.tolist() == [severity_category(total) for total in sums]
    np.testing.assert_allclose(found.score, sums)


def test_uncertain_zones_are_added_as_distributions_not_as_best_guesses() -> None:
    doubt = np.array([[0.6, 0, 0, 0.4]])  # the best guess of every zone is 0, the expected sum is 7.2
    found = by_network({zone.name: doubt for zone in ZONES})
    assert found.score == pytest.approx([7.2]) and found.category.tolist() != [0]


def test_a_global_score_is_read_before_a_category_and_a_category_as_its_middle() -> None:
    category = certain([3], 4)
    assert by_network({"severity": category}).score.tolist() == [16.0]
    assert by_network({"severity": category, "global": certain([0], 19)}).category.tolist() == [0]


@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=2, max_size=4))
def test_all_networks_with_zones_together_are_the_mean_of_theirs_and_of_no_other_answer(networks: list[list[int]]) -> None:
    answers = [answer("severity", certain([3], 4))]
    answers += [answer(zone.name, certain([scores[i]], 4)) for scores in networks for i, zone in enumerate(ZONES)]
    found = of_all_zones(answers)
    assert found is not None and found.score == pytest.approx([np.mean([sum(scores) for scores in networks])])


def test_one_network_is_no_ensemble() -> None:
    assert of_all_zones([answer(zone.name, certain([0], 4)) for zone in ZONES]) is None


def test_agreement_of_a_reader_with_oneself_is_perfect_and_a_second_one_is_measured() -> None:
    rows = [row("a", "p", "000000", "000001"), row("b", "p", "333333", "333330"), row("c", "q", "111111", "333333")]
    truth, second, weights = by_reader(rows, "zones"), by_reader(rows, "second"), np.ones((1, 3))
    own = agreement(truth, truth, weights)
    assert (own["acc"][0], own["kappa"][0], own["score_mae"][0]) == (1, 1, 0)
    other = agreement(truth, second, weights)
    assert other["acc"][0] == pytest.approx(2 / 3) and other["score_mae"][0] == pytest.approx((1 + 3 + 12) / 3)


def test_draws_take_patients_whole_and_are_the_same_for_the_same_rows() -> None:
    rows = [row("a", "p", "000000", "000000"), row("b", "p", "333333", "000000"), row("c", "q", "111111", "000000")]
    weights = draws_of(rows)
    assert weights.shape == (1 + DRAWS, 3) and (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 1]).all() and len(np.unique(weights[:, 2])) > 1
    np.testing.assert_array_equal(weights, draws_of(rows))


def test_figures_follow_the_weights() -> None:
    truth = Reading(np.array([0, 3]), np.array([0.0, 18.0]))
    given_ = Reading(np.array([0, 0]), np.array([0.0, 10.0]))
    figures = agreement(truth, given_, np.array([[1.0, 1.0], [1.0, 3.0]]))
    assert figures["acc"].tolist() == [0.5, 0.25] and figures["score_mae"].tolist() == [4.0, 6.0]
    assert len(SEVERITY.classes) == 4
