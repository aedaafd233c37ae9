"""`averaging`: the weights that are judged and kept are an average over the steps, and all else is as without it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from cxr.tasks import PROGNOSIS, SEVERITY
from tests.training.learning.ranks import together
from tests.training.learning.test_resume import SMALL, check
from tests.training.learning.tiny import same, tiny_network, tiny_samples, training, weights
from training.learning.backbones import build
from training.learning.course import Course
from training.learning.fitting import Fit, fit
from training.learning.network import Network
from training.learning.team import Team
from training.settings import Training

KEEPS = 0.8


def fitted(averaging: float, **changes: object) -> Fit:
    settings = training(**{"max_epochs": 3, "averaging": averaging, **changes})
    return fit(tiny_network(), tiny_samples(), tiny_samples(6, seed=1), settings, 0)


def test_what_is_kept_is_the_moving_average_of_the_weights_after_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand: dict[str, Tensor] = {}
    step = Course.step

    def watched(course: Course) -> None:
        step(course)
        for name, now in weights(course.network).items():
            if name not in by_hand or not now.is_floating_point():
                by_hand[name] = now.clone()
            else:
                by_hand[name] = KEEPS * by_hand[name] + (1 - KEEPS) * now

    monkeypatch.setattr(Course, "step", watched)
    found = fitted(KEEPS, max_epochs=1, warmup_epochs=0)
    for name, value in weights(found.network).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, by_hand[name], rtol=1e-4, atol=1e-6, msg=name)


def test_the_average_moves_no_step() -> None:
    plain, averaged = fitted(0.0), fitted(KEEPS)
    assert [epoch["train_loss"] for epoch in plain.history] == [epoch["train_loss"] for epoch in averaged.history]
    assert [epoch["val_loss"] for epoch in plain.history] != [epoch["val_loss"] for epoch in averaged.history]
    assert not same(weights(plain.network), weights(averaged.network))


def test_training_resumes_with_its_average_to_the_bit(tmp_path: Path) -> None:
    check("stl", SMALL, tmp_path, Training(batch_size=8, max_epochs=4, patience=2, warmup_epochs=1, hidden=8, averaging=KEEPS))


def _ranks(team: Team, _folder: Path) -> dict[str, Tensor]:
    torch.manual_seed(0)
    network = Network(build(SMALL), (PROGNOSIS, SEVERITY), hidden=8, dropout=0.3)
    settings = training(max_epochs=2, averaging=KEEPS)
    fit(network, tiny_samples(), tiny_samples(6, seed=1), settings, 0, team=team)
    return weights(network)


@pytest.mark.long
def test_all_ranks_keep_the_same_average(tmp_path: Path) -> None:
    first, second = together(2, _ranks, tmp_path)
    assert same(first, second)


def test_no_average_keeps_the_digest_of_what_was_trained_before() -> None:
    assert "averaging" not in training().deciding()
    assert training(averaging=KEEPS).deciding()["averaging"] == KEEPS
