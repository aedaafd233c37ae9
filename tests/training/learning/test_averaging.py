"""What MDMT starts from: the average of two backbones, and BatchNorm statistics measured anew for it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cxr.tasks import PROGNOSIS
from tests.training.learning.tiny import noise, tiny_backbone
from training.learning.backbones.backbone import average
from training.learning.fitting import reestimate_batch_norm
from training.learning.network import Network


def state(*values: float, seen: int = 0) -> dict[str, torch.Tensor]:
    return {
        "weight": torch.tensor(values[:2]),
        "running_mean": torch.tensor(values[2:], dtype=torch.float16),
        "num_batches_tracked": torch.tensor(seen),
    }


def test_parameters_and_buffers_are_averaged_by_name_and_keep_their_types() -> None:
    mixed = average((state(1.0, -2.0, 4.0, seen=4), state(3.0, 2.0, 8.0, seen=11)), (0.5, 0.5))
    assert mixed["weight"].tolist() == [2.0, 0.0]
    assert mixed["running_mean"].tolist() == [6.0]
    assert mixed["running_mean"].dtype == torch.float16
    assert (mixed["num_batches_tracked"].item(), mixed["num_batches_tracked"].dtype) == (8, torch.int64)  # 7.5, to even


@pytest.mark.parametrize(("beta", "expected"), [(1.0, 1.0), (0.0, 3.0), (0.25, 2.5)])
def test_beta_is_the_weight_of_the_first(beta: float, expected: float) -> None:
    assert average((state(1.0, 0.0, 0.0), state(3.0, 0.0, 0.0)), (beta, 1 - beta))["weight"][0].item() == expected


def test_the_average_of_a_network_with_itself_is_itself_to_the_bit() -> None:
    own = nn.Conv2d(3, 8, 3).state_dict()
    assert all(torch.equal(value, average((own, own), (0.5, 0.5))[name]) for name, value in own.items())


@given(beta=st.floats(0, 1), seed=st.integers(0, 99))
def test_two_networks_are_mixed_in_double_precision_and_rounded_once(beta: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(50, generator=generator) for _ in range(2))
    mixed = average(({"weight": a}, {"weight": b}), (beta, 1 - beta))["weight"]
    assert torch.equal(mixed, (beta * a.double() + (1 - beta) * b.double()).float())


def test_any_number_of_networks_are_averaged() -> None:
    states = [state(1.0, 0.0, 0.0, seen=1), state(2.0, 4.0, 0.0, seen=2), state(5.0, 8.0, 8.0, seen=6)]
    mixed = average(states, (0.25, 0.25, 0.5))
    assert (mixed["weight"].tolist(), mixed["running_mean"].tolist()) == ([3.25, 5.0], [4.0])
    assert mixed["num_batches_tracked"].item() == 4  # 3.75


@pytest.mark.parametrize("weights", [(0.5, 0.4), (1.5, -0.5), (0.5, 0.25, 0.25), (1.0,), (float("nan"), 0.5)])
def test_weights_that_are_no_shares_of_one_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="weights"):
        average((state(1.0, 2.0, 3.0), state(1.0, 2.0, 3.0)), weights)


def test_a_single_network_is_not_averaged() -> None:
    with pytest.raises(ValueError, match="at least two"):
        average((state(1.0, 2.0, 3.0),), (1.0,))


def test_neither_network_is_changed() -> None:
    first, second = state(1.0, 2.0, 3.0), state(5.0, 6.0, 7.0)
    average((first, second), (0.5, 0.5))
    assert (first["weight"].tolist(), second["weight"].tolist()) == ([1.0, 2.0], [5.0, 6.0])


def test_networks_with_other_tensors_or_shapes_are_refused_by_the_name_of_one() -> None:
    with pytest.raises(ValueError, match=r"differ in 1 tensors, e\.g\. running_mean"):
        average((state(1.0, 2.0, 3.0), {k: v for k, v in state(1.0, 2.0, 3.0).items() if k != "running_mean"}), (0.5, 0.5))
    with pytest.raises(ValueError, match=r"weight has shape \(2,\) in one network and \(3,\)"):
        average((state(1.0, 2.0, 3.0), state(1.0, 2.0, 3.0) | {"weight": torch.zeros(3)}), (0.5, 0.5))


def test_reestimated_statistics_are_the_mean_over_batches_computed_by_hand() -> None:
    torch.manual_seed(0)
    network = Network(tiny_backbone(), (PROGNOSIS,))
    convolution, norm = network.backbone[0], network.backbone[1]
    norm.running_mean.fill_(9.0)
    norm.num_batches_tracked.fill_(7)
    films = noise(5, seed=1)
    reestimate_batch_norm(network, films, batch_size=2)

    means, variances = [], []
    for batch in (films[:2], films[2:]):  # the last film joins the batch before it
        x = torch.from_numpy(batch)[:, None].float() * network.scale + network.shift
        seen = convolution(x).detach().transpose(0, 1).flatten(1).double().numpy()  # (channels, values)
        means.append(seen.mean(axis=1))
        variances.append(seen.var(axis=1, ddof=1))
    np.testing.assert_allclose(norm.running_mean.numpy(), np.mean(means, axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.running_var.numpy(), np.mean(variances, axis=0), rtol=1e-4)


def test_reestimation_changes_statistics_only_and_leaves_momentum_as_it_was() -> None:
    torch.manual_seed(0)
    network = Network(tiny_backbone(), (PROGNOSIS,))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    reestimate_batch_norm(network, noise(6), batch_size=3)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"backbone.1.running_mean", "backbone.1.running_var", "backbone.1.num_batches_tracked"}
    assert network.backbone[1].momentum == 0.1
