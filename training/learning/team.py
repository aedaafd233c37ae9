"""The processes that train one network together, as one of them sees it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from training.learning.network import Network

FEWEST = 2  # films of one process: BatchNorm cannot learn from one
_STREAMS = 0x9E3779B1  # odd: ranks differ in the lowest 32 bits, all that a CPU generator takes of a seed


class Share(NamedTuple):
    """Places of a batch that one process computes; `copies` of the processes compute the same ones."""

    places: slice
    copies: int


@dataclass(frozen=True)
class Team:
    """Process `rank` (0 … size−1) of `size`. Above size 1 a process group of torch.distributed has to be open.

    A batch is cut into `size` runs of neighbouring films, which differ by one film at most. One with fewer than 2 films for each is
    computed whole by everybody. Either way the gradient is that of the loss of the whole batch, as one process would have it.
    """

    rank: int = 0
    size: int = 1

    def share(self, films: int) -> Share:
        """This process's part of a batch of `films`."""
        if films < FEWEST * self.size:
            return Share(slice(0, films), self.size)
        return Share(slice(films * self.rank // self.size, films * (self.rank + 1) // self.size), 1)

    def weight(self, share: Share, films: int, reduction: str) -> float:
        """What the loss of a share is multiplied by: gradients are averaged over processes, and wanted is that of all `films`."""
        part = (share.places.stop - share.places.start) / films if reduction == "mean" else 1.0
        return self.size / share.copies * part

    def stream(self, seed: int) -> int:
        """Seed of this process's dropout: processes draw different masks; that of rank 0 is `seed`."""
        return seed + self.rank * _STREAMS

    def wrap(self, network: nn.Module, weighting: nn.Module) -> nn.Module:
        """films → logits of the network; with several processes a backward pass averages the gradients, of `weighting` too.

        Made anew for every epoch: the order in which gradients are added up changes after the first batch of a wrapper, and an epoch
        after a resume must be the epoch of the undisturbed training.
        """
        if self.size == 1:
            return network
        device = next(network.parameters()).device
        here = [device] if device.type == "cuda" else None
        return DistributedDataParallel(_Learned(network, weighting), device_ids=here, forward_sync_buffers=False, init_sync=False)

    def in_turn(self, do: Callable[[], None]) -> None:
        """Rank 0 first, the others when it is done."""
        if self.rank == 0:
            do()
        if self.size > 1:
            dist.barrier()
        if self.rank > 0:
            do()

    def total(self, value: Tensor) -> Tensor:
        """The sum of a number over all processes."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def turns(self, pieces: range) -> range:
        """The pieces of some work that are this process's."""
        return pieces[self.rank :: self.size]

    def gather(self, own: Mapping[int, dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Everybody's pieces, which `turns` dealt out, in their order."""
        if self.size == 1:
            return list(own.values())
        everybody: list[dict[int, dict[str, Tensor]]] = [{} for _ in range(self.size)]
        dist.all_gather_object(everybody, {i: {k: v.cpu() for k, v in piece.items()} for i, piece in own.items()})
        merged = {i: piece for pieces in everybody for i, piece in pieces.items()}
        return [merged[i] for i in sorted(merged)]

    @torch.no_grad()
    def average_statistics(self, network: Network) -> None:
        """BatchNorm's running mean and variance become the average over the processes, where it is not synchronised anyway."""
        if self.size == 1:
            return
        layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and not isinstance(m, SyncBatchNorm)]
        buffers = [b for layer in layers for b in (layer.running_mean, layer.running_var) if b is not None]
        if not buffers:
            return
        together = torch.cat([buffer.flatten() for buffer in buffers])
        dist.all_reduce(together)
        for buffer, mean in zip(buffers, (together / self.size).split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(mean.view_as(buffer))


class _Learned(nn.Module):
    """All parameters of one training in one module, which is how gradients are averaged."""

    def __init__(self, network: nn.Module, weighting: nn.Module) -> None:
        super().__init__()
        self.network, self.weighting = network, weighting

    def forward(self, films: Tensor) -> dict[str, Tensor]:
        logits: dict[str, Tensor] = self.network(films)
        return logits


ALONE = Team()
