"""The network of the paper (figure 1): one shared backbone, one fully connected head per task, the same head in every experiment."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from cxr.tasks import Task
from training.learning.backbones import build
from training.learning.backbones.backbone import Backbone


class Head(nn.Sequential):
    """(B, features) → (B, classes) logits; the paper says "fully connected layers" and gives no sizes (section 2)."""

    def __init__(self, features: int, classes: int, hidden: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes),
        )  # fmt: skip


class Network(nn.Module):
    """Gray films (B, 1, S, S), uint8 or float in 0..255 → {task: (B, classes) logits}.

    Scaling to [0, 1], the backbone's normalisation and the copy of the gray channel to three are part of the network, so they are
    part of the exported graph and cannot be forgotten, or done twice, by a caller. Equation 1 of the paper.
    """

    def __init__(self, backbone: Backbone, tasks: Sequence[Task], hidden: int = 128, dropout: float = 0.5) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.origin = backbone.origin
        self.backbone = backbone.module
        self.heads = nn.ModuleDict(
            {task.name: Head(backbone.features, len(task.classes), hidden, dropout) for task in self.tasks}
        )
        mean, std = torch.tensor(backbone.mean), torch.tensor(backbone.std)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1), persistent=False)

    def forward(self, films: Tensor) -> dict[str, Tensor]:
        x = films.float() * self.scale + self.shift  # (B, 1, S, S) · (1, 3, 1, 1) → (B, 3, S, S)
        shared = self.backbone(x)  # (B, features), computed once for all heads
        return {name: head(shared) for name, head in self.heads.items()}


def create(backbone: str, weights: str, tasks: Sequence[Task], hidden: int, dropout: float, seed: int) -> Network:
    """A network as it starts, seeded: the same arguments give the same numbers."""
    torch.manual_seed(seed)
    return Network(build(backbone, weights), tasks, hidden, dropout)


class _Graph(nn.Module):
    """The network with a tuple for an output, because a graph's outputs have an order and a dict has not."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, film: Tensor) -> tuple[Tensor, ...]:
        logits = self.network(film)
        return tuple(logits[task.name] for task in self.network.tasks)


def export_onnx(network: Network, size: int, path: Path) -> None:
    """Network → ONNX: input "film" uint8 (N, 1, size, size) with N free, one output of logits per task, named by the task."""
    network = network.cpu().eval()
    example = torch.zeros(2, 1, size, size, dtype=torch.uint8)  # a batch of 1 would be baked in as a constant
    program = torch.onnx.export(
        _Graph(network).eval(),
        (example,),
        dynamo=True,
        input_names=["film"],
        output_names=[task.name for task in network.tasks],
        dynamic_shapes={"film": {0: torch.export.Dim("films", min=1, max=1024)}},
        verbose=False,
    )
    graph = program.model_proto
    for part in (*graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output, graph.graph):
        del part.metadata_props[:]  # the exporter leaves stack traces there, with the paths of this machine
    path.write_bytes(graph.SerializeToString(deterministic=True))
