"""Contrastive pre-training: the loss is what it is said to be, learning lowers it, and the seed decides all of it."""

import numpy as np
import torch
from torch import nn

from training.learning.contrast import Contrast, Projected, learn_likeness, likeness_loss

# Twelve pictures of a few large squares each, which are easily told apart.
FILMS = np.kron(np.random.default_rng(0).integers(0, 256, (12, 4, 4)), np.ones((1, 12, 12))).astype(np.uint8)
KEYS = np.arange(12, dtype=np.uint64)
SETTINGS = Contrast(epochs=150, batch=12, learning_rate=3e-3, width=16)
BRIEF = SETTINGS.model_copy(update={"epochs": 4})


def learnt(settings: Contrast) -> tuple[list[float], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    small = nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=4), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    network = Projected(small, 32, torch.full((3,), 0.5), torch.full((3,), 0.25), settings.width)
    losses: list[float] = []
    learn_likeness(network, FILMS, KEYS, settings, lambda _, loss: losses.append(loss))
    return losses, network.backbone.state_dict()


def test_the_loss_is_the_cross_entropy_of_finding_the_other_view_among_all_others() -> None:
    found = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    unit = found / found.norm(dim=1, keepdim=True)
    terms = []
    for i in range(6):
        others = [j for j in range(6) if j != i]
        alike = torch.stack([unit[i] @ unit[j] for j in others]) / 0.5
        terms.append(-torch.log_softmax(alike, 0)[others.index((i + 3) % 6)])
    torch.testing.assert_close(likeness_loss(found, 0.5), torch.stack(terms).mean())


def test_views_that_are_alike_cost_little_and_unlike_ones_much() -> None:
    alike = torch.eye(4).repeat(2, 1)
    assert likeness_loss(alike, 0.1) < 0.01 < 5 < likeness_loss(torch.cat([torch.eye(4), torch.eye(4).roll(1, 0)]), 0.1)


def test_learning_lowers_the_loss() -> None:
    losses, _ = learnt(SETTINGS)
    assert len(losses) == 150 and np.mean(losses[-20:]) < np.mean(losses[:20]) - 0.25


def test_the_seed_decides_the_weights() -> None:
    _, weights = learnt(BRIEF)
    _, again = learnt(BRIEF)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    _, other = learnt(BRIEF.model_copy(update={"seed": 1}))
    assert any(not torch.equal(weights[name], other[name]) for name in weights)
