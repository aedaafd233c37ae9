"""Do folds of one backbone gain by training at once, weights stacked (torch.func)? BatchNorm without running statistics, as vmap needs."""

import copy
from statistics import median

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, replace_all_batch_norm_modules_, stack_module_state, vmap
from torch.nn import functional

from benchmarks.clock import interleaved, spent
from training.learning.backbones import build

CLASSES = 4


def gains(backbone: str, size: int, batch: int, folds: tuple[int, ...], rounds: int) -> dict[int, float]:
    """{folds: processor time of so many trained one after the other, per that of all at once}: above 1 is a gain."""
    torch.manual_seed(0)
    built = build(backbone)
    one = replace_all_batch_norm_modules_(nn.Sequential(built.module, nn.Linear(built.features, CLASSES))).train()
    one.to(memory_format=torch.channels_last)
    found = {}
    for number in folds:
        networks = [copy.deepcopy(one) for _ in range(number)]
        films, labels = torch.randn(number, batch, 3, size, size), torch.arange(number * batch).view(number, batch) % CLASSES
        parameters, buffers = stack_module_state(networks)

        def loss(own: dict[str, Tensor], kept: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return functional.cross_entropy(functional_call(one, (own, kept), (x,)), y)

        together = vmap(grad_and_value(loss), randomness="different")

        def in_turn(networks: list[nn.Module] = networks, films: Tensor = films, labels: Tensor = labels) -> None:
            for network, x, y in zip(networks, films, labels, strict=True):
                network.zero_grad()
                functional.cross_entropy(network(x.contiguous(memory_format=torch.channels_last)), y).backward()

        runs = {
            "in turn": lambda in_turn=in_turn: spent(in_turn),
            "at once": lambda t=together, p=parameters, b=buffers, x=films, y=labels: spent(lambda: t(p, b, x, y)),
        }
        taken = interleaved(runs, rounds)
        found[number] = median(a.cpu for a in taken["in turn"]) / median(b.cpu for b in taken["at once"])
    return found
