"""What every network says about why: the closed form is Grad-CAM as autograd computes it, for every backbone."""

import numpy as np
import pytest
import torch

from cxr.tasks import PROGNOSIS, SEVERITY
from training.learning.backbones import NAMES
from training.learning.evidence import Sight, evidence, seen
from training.learning.network import Network, create

TASKS = (PROGNOSIS, SEVERITY)


def network_of(name: str, size: int, count: int = 3) -> tuple[Network, torch.Tensor]:
    """A network with statistics of its own, and so many films."""
    network = create(name, "scratch", TASKS, hidden=16, dropout=0.5, seed=0)
    films = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 1, size, size), dtype=np.uint8))
    network(films)
    return network.eval(), films


def grad_cam(network: Network, films: torch.Tensor) -> dict[str, torch.Tensor]:
    """The definition, for every class: the map's channels weighted by the mean gradient of the logit, summed; (B, C, h, w), signed."""
    with seen(network.backbone.get_submodule(network.last_map)) as maps:
        logits = network(films)
    found = {}
    for name, rows in logits.items():
        slopes = [torch.autograd.grad(row.sum(), maps[0], retain_graph=True)[0] for row in rows.T]
        found[name] = torch.stack([(slope.mean((2, 3), keepdim=True) * maps[0]).sum(1) for slope in slopes], 1).detach()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_closed_form_is_the_grad_cam_of_autograd(name: str) -> None:
    network, films = network_of(name, 64)
    expected = grad_cam(network, films)
    with torch.no_grad(), seen(network.backbone) as features, seen(network.backbone.get_submodule(network.last_map)) as maps:
        network(films)
    torch.testing.assert_close(maps[0].mean((2, 3)), features[0], rtol=1e-4, atol=1e-5)  # it does end in an average
    for task in TASKS:
        got = evidence(network.heads[task.name], Sight(features[0], ((maps[0], None),))).detach()
        assert got.shape == (3, len(task.classes), 2, 2)
        scale = expected[task.name].abs().max()  # of untrained networks as small as 1e-14
        assert scale > 0
        torch.testing.assert_close(got / scale, expected[task.name] / scale, rtol=1e-3, atol=1e-4)
