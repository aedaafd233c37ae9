"""The loop: repeatable to the bit, stops when it should, keeps the best weights, and really learns."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from cxr.tasks import PROGNOSIS, SEVERITY
from tests.training.data.test_augmentation import augment
from tests.training.learning.tiny import BOTH, PLAIN, noise, same, tiny_backbone, tiny_network, tiny_samples, training, weights
from training.data.samples import Samples, assemble
from training.data.variation import vary
from training.learning import feeding, fitting
from training.learning.fitting import evaluate_loss, fit, predict
from training.learning.network import Network, create
from training.settings import Augmentation

# --- repeatability -----------------------------------------------------------------------------------------------------


def trained(seed: int, train: Samples, drawn: int = 0, **changes: object) -> dict[str, Tensor]:
    network = tiny_network()
    torch.rand(drawn)
    np.random.seed(drawn)
    fit(network, train, tiny_samples(6, seed=1), training(**changes), seed)
    return weights(network)


def test_the_same_seed_gives_the_same_weights_to_the_bit_whatever_else_drew_random_numbers() -> None:
    first = trained(5, tiny_samples())
    assert same(first, trained(5, tiny_samples(), drawn=100))
    assert not same(first, trained(6, tiny_samples()))


def reordered(samples: Samples) -> Samples:
    turn = np.arange(len(samples))[::-1].copy()
    return Samples(samples.films[turn], samples.labels[turn], samples.known[turn], samples.keys[turn], samples.tasks)


def test_a_films_augmentation_does_not_depend_on_its_row_or_its_batch() -> None:
    one_batch = training(max_epochs=1, batch_size=64, dropout=0)
    losses = []
    for train in (tiny_samples(), reordered(tiny_samples())):
        torch.manual_seed(0)
        network = Network(tiny_backbone(), (PROGNOSIS, SEVERITY), hidden=8, dropout=0)
        losses.append(fit(network, train, tiny_samples(6, seed=1), one_batch, seed=0).history[0]["train_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_rows_in_another_order_make_other_batches_which_is_why_a_unit_sorts_its_films() -> None:
    assert not same(trained(5, tiny_samples()), trained(5, reordered(tiny_samples())))


def plain_loop(seed: int, train: Samples, epochs: int) -> dict[str, Tensor]:
    """Section 3.2 of the paper without an option: what `fit` must compute to the bit when no option is switched on."""
    network = tiny_network().to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(network.parameters(), 1e-3, weight_decay=1e-4, fused=True)
    for epoch in range(1, epochs + 1):
        network.train()
        torch.manual_seed(seed * 1_000_003 + epoch)
        order = np.random.default_rng([seed, epoch]).permutation(len(train))
        for rows in (order[i : i + 4] for i in range(0, len(order), 4)):
            films = augment(torch.from_numpy(train.films[rows])[:, None], train.keys[rows], seed, epoch, Augmentation())
            logits = network(films.contiguous(memory_format=torch.channels_last))
            terms = [
                torch.where(
                    torch.from_numpy(train.known[rows, j]),
                    nn.functional.cross_entropy(logits[task], torch.from_numpy(train.labels[rows, j]), reduction="none"),
                    0.0,
                ).sum()
                for j, task in enumerate(BOTH)
            ]
            adam.zero_grad()
            torch.stack(terms).sum().backward()
            adam.step()
    return weights(network)


def test_without_an_option_the_weights_are_those_of_the_plain_loop_to_the_bit() -> None:
    assert same(trained(5, tiny_samples(), warmup_epochs=3, max_epochs=3), plain_loop(5, tiny_samples(), 3))


@pytest.mark.parametrize(
    "changes",
    [
        {"mixing": "balanced"}, {"task_weighting": "uncertainty"}, {"squared_error": ("prognosis",)},
        {"label_smoothing": 0.1}, {"reduction": "mean"}, {"schedule": "plateau", "plateau_patience": 0, "plateau_factor": 0.1},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_each_option_changes_the_weights_and_stays_repeatable(changes: dict[str, object]) -> None:
    changed = trained(5, tiny_samples(13), max_epochs=5, learning_rate=0.05, warmup_epochs=4, **changes)
    assert same(changed, trained(5, tiny_samples(13), max_epochs=5, learning_rate=0.05, warmup_epochs=4, **changes))
    assert not same(changed, trained(5, tiny_samples(13), max_epochs=5, learning_rate=0.05, warmup_epochs=4))


@pytest.mark.parametrize("way", [{"mixing": "balanced"}, {"task_weighting": "uncertainty"}, {"squared_error": ("prognosis",)}])
def test_options_of_several_tasks_leave_a_network_of_one_task_as_it_is(way: dict[str, object]) -> None:
    alone = tiny_samples(tasks=("prognosis",))
    networks = []
    for changes in ({}, way):
        torch.manual_seed(0)
        network = Network(tiny_backbone(), (PROGNOSIS,), hidden=8)
        fit(network, alone, alone, training(**changes), 0)
        networks.append(weights(network))
    assert same(*networks)


def test_a_film_that_comes_again_within_an_epoch_is_augmented_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(feeding, "vary", lambda keys, *rest: given.extend(keys.tolist()) or vary(keys, *rest))
    few = tiny_samples(12)
    few = Samples(few.films[:7], few.labels[:7], few.known[:7], few.keys[:7], few.tasks)  # 3 and 4 films
    fit(tiny_network(), few, few, training(max_epochs=1, mixing="balanced"), 0)
    assert len(given) == len(set(given)) == 8


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("task_weighting", "learned", "'equal', 'uncertainty' or 'sample-count'"), ("mixing", "even", "'shuffled' or 'balanced'"),
        ("schedule", "cosine", "'constant' or 'plateau'"), ("squared_error", ("prognosys",), "prognosys.*prognosis, severity"),
        ("label_smoothing", 1.0, "less than 1"), ("plateau_factor", 1.0, "less than 1"), ("plateau_patience", -1, "0"),
        ("plateau_minimum", -1e-9, "0"), ("normalisation", "Imagenet", "'backbone' or 'none'"),
        ("channels", "rgb", "'gray' or 'scrambled'"), ("task_weights", "equal", "not permitted"),
    ],
)  # fmt: skip
def test_an_option_out_of_its_range_is_refused_with_what_is_allowed(field: str, value: object, allowed: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){field}.*{allowed}"):
        training(**{field: value})


# --- when it stops and what it keeps -----------------------------------------------------------------------------------


def scripted(
    monkeypatch: pytest.MonkeyPatch, losses: Sequence[float], **changes: object
) -> tuple[fitting.Fit, list[dict[str, Tensor]]]:
    """Train with these validation losses; returns the fit and the weights as they were after each epoch."""
    told, after = iter(losses), []
    monkeypatch.setattr(fitting, "evaluate_loss", lambda *_: dict.fromkeys(("val_loss_prognosis", "val_loss"), next(told)))
    network = tiny_network()
    settings = training(**{"max_epochs": len(losses), **changes})
    result = fit(network, tiny_samples(), tiny_samples(), settings, 0, lambda *_: after.append(weights(network)))
    return result, after


def test_warmup_epochs_are_never_best_and_never_count_as_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    result, after = scripted(monkeypatch, [0.1, 0.2, 0.3, 0.9, 0.8, 0.85, 0.84, 0.1], warmup_epochs=3, patience=2)
    assert (result.best_epoch, len(result.history)) == (5, 7)
    assert same(weights(result.network), after[4])
    assert not same(weights(result.network), after[6])


def test_training_stops_after_patience_epochs_without_a_lower_loss_and_an_equal_one_is_not_lower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result, _ = scripted(monkeypatch, [0.5, 0.5, 0.5, 0.5, 0.1], patience=3)
    assert (result.best_epoch, len(result.history)) == (1, 4)


def test_a_lower_loss_starts_the_waiting_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    result, after = scripted(monkeypatch, [0.5, 0.6, 0.4, 0.6, 0.3, 0.9], patience=2)
    assert (result.best_epoch, len(result.history)) == (5, 6)
    assert same(weights(result.network), after[4])


def test_a_run_that_ends_within_its_warmup_keeps_its_last_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    result, after = scripted(monkeypatch, [0.1, 0.2], warmup_epochs=40)
    assert result.best_epoch == 2
    assert same(weights(result.network), after[1])


@pytest.mark.parametrize(
    ("warmup", "rates"), [("hold-off", [0.1, 0.1, 0.1, 0.1, 0.1]), ("linear", [0.025, 0.05, 0.075, 0.1, 0.1])]
)
def test_holding_off_leaves_the_learning_rate_and_linear_warmup_raises_it(
    monkeypatch: pytest.MonkeyPatch, warmup: str, rates: list[float]
) -> None:
    result, _ = scripted(monkeypatch, [1.0] * 5, warmup=warmup, warmup_epochs=4, learning_rate=0.1)
    assert [epoch["learning_rate"] for epoch in result.history] == pytest.approx(rates)


def test_a_plateau_lowers_the_learning_rate_as_torch_does_from_the_first_epoch_on_and_not_below_the_minimum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = [1.0, 0.9, 0.9, 0.95, 0.9, 0.91, 0.92, 0.93, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
    options = {"plateau_factor": 0.5, "plateau_patience": 1, "plateau_minimum": 0.2}
    result, _ = scripted(
        monkeypatch, losses, schedule="plateau", learning_rate=1.0, warmup_epochs=6, patience=99, **options
    )  # fmt: skip
    theirs = torch.optim.SGD([torch.zeros(1)], 1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, factor=0.5, patience=1, min_lr=0.2)
    rates = []
    for loss in losses:
        rates.append(theirs.param_groups[0]["lr"])
        schedule.step(loss)
    assert [epoch["learning_rate"] for epoch in result.history] == rates
    assert rates[0] == 1.0 and rates[5] < 1.0 and rates[-1] == 0.2


def test_a_plateau_waits_for_the_end_of_a_linear_warmup(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"schedule": "plateau", "plateau_patience": 0, "plateau_factor": 0.5, "warmup": "linear", "warmup_epochs": 3}
    result, _ = scripted(monkeypatch, [1.0] * 6, learning_rate=0.3, **settings)
    assert [epoch["learning_rate"] for epoch in result.history] == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.3, 0.15])


def test_a_plateau_watches_the_total_also_when_one_task_decides_when_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = iter([{"val_loss": 1.0, "val_loss_prognosis": 1.0, "val_loss_severity": s} for s in (3.0, 2.0, 1.0, 1.0)])
    monkeypatch.setattr(fitting, "evaluate_loss", lambda *_: next(rows))
    settings = training(max_epochs=4, schedule="plateau", plateau_patience=0, learning_rate=0.1, monitor="prognosis")
    result = fit(tiny_network(), tiny_samples(), tiny_samples(), settings, 0)
    assert [epoch["learning_rate"] for epoch in result.history] == [0.1] * 4
    assert result.best_epoch == 1


def test_a_loss_that_is_not_finite_is_refused_and_says_what_to_lower() -> None:
    with pytest.raises(FloatingPointError, match=r"epoch 1: lower learning_rate \(1e\+30\)"):
        fit(tiny_network(), tiny_samples(), tiny_samples(), training(learning_rate=1e30), 0)


# --- batches, figures, learning ----------------------------------------------------------------------------------------


def test_a_last_batch_of_one_film_trains() -> None:
    assert fit(tiny_network(), tiny_samples(5), tiny_samples(6), training(max_epochs=1), 0).best_epoch == 1


def test_validation_is_the_sum_over_tasks_of_the_mean_per_task_so_the_larger_set_does_not_decide() -> None:
    network, val = tiny_network(), tiny_samples(9)  # 5 severity, 4 prognosis
    figures = evaluate_loss(network, val, training())
    logits = predict(network, val.films)
    for j, task in enumerate(BOTH):
        odds = np.exp(logits[task].astype(np.float64))
        truth = val.labels[:, j]
        losses = -np.log(odds[np.arange(9), truth] / odds.sum(axis=1))[val.known[:, j]]
        assert figures[f"val_loss_{task}"] == pytest.approx(losses.mean(), rel=1e-5)
        right = (logits[task].argmax(axis=1) == truth)[val.known[:, j]]
        assert figures[f"val_accuracy_{task}"] == pytest.approx(right.mean())
    assert figures["val_loss"] == pytest.approx(figures["val_loss_prognosis"] + figures["val_loss_severity"])
    alone = evaluate_loss(network, val, training(monitor="prognosis"))
    assert alone["val_loss"] == alone["val_loss_prognosis"]


def test_predictions_do_not_depend_on_the_batch_size_and_leave_the_network_as_it_is() -> None:
    network, films = tiny_network(), noise(7)
    before = weights(network)
    whole, pieces = predict(network, films), predict(network, films, batch_size=3)
    assert whole["severity"].shape == (7, 4)
    assert all(np.allclose(whole[name], pieces[name], atol=1e-6) for name in whole)
    assert same(before, weights(network))


def test_sixteen_films_are_learned_by_heart() -> None:
    rng = np.random.default_rng(0)
    labels = [{"prognosis": int(rng.integers(2)), "severity": int(rng.integers(4))} for _ in range(16)]
    patches = noise(16, size=8).repeat(8, axis=1).repeat(8, axis=2)  # (16, 64, 64)
    films = assemble(list(patches), [str(i) for i in range(16)], labels, BOTH)
    network = create("shufflenet_v2_x0_5", "scratch", (PROGNOSIS, SEVERITY), hidden=64, dropout=0, seed=0)
    settings = training(max_epochs=40, patience=40, batch_size=8, learning_rate=5e-4, weight_decay=0, augmentation=PLAIN)
    result = fit(network, films, films, settings, seed=0)
    first, best = result.history[0], result.history[result.best_epoch - 1]
    assert best["val_accuracy_prognosis"] == best["val_accuracy_severity"] == 1.0
    assert best["train_loss"] < first["train_loss"] / 4
    assert math.isclose(evaluate_loss(network, films, settings)["val_loss"], best["val_loss"], rel_tol=1e-4)
