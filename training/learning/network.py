"""The network of the paper (figure 1): one shared backbone, one fully connected head per task, the same head in every experiment."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from cxr.engine import EVIDENCE
from cxr.tasks import Task
from training.learning.backbones import build
from training.learning.backbones.backbone import Backbone
from training.learning.close_ups import CUT_OUTS, close_ups
from training.learning.evidence import Sight, evidence, seen
from training.learning.places import lungs_on, places_of

POOLINGS = ("everywhere", "lungs", "zones")


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

    `pooling` "lungs", for films with black around the lungs, gives every head the mean over the lungs in place of that over all places
    (`places`), so that no answer comes from elsewhere; the paper's is "everywhere". "zones" is "lungs" with each of the six zones looked
    at alone (`close_ups`): a zone's head is given the mean over its own lung, every other head the mean of all six.

    Two departures repeat what the authors' code does, for comparison only, and travel in the graph like the rest: `normalisation`
    "none" leaves the values in [0, 1] (their τ2 and MDMT runs are not normalised, by a misspelling), and `channels` "scrambled" feeds
    what `scrambled` says. Anything else than these and the defaults "backbone" and "gray" is a ValueError.
    """

    def __init__(
        self,
        backbone: Backbone,
        tasks: Sequence[Task],
        hidden: int = 128,
        dropout: float = 0.5,
        normalisation: str = "backbone",
        channels: str = "gray",
        pooling: str = "everywhere",
    ) -> None:
        super().__init__()
        if normalisation not in ("backbone", "none"):
            raise ValueError(f"normalisation {normalisation!r}: use 'backbone' (its mean and deviation) or 'none'")
        if channels not in ("gray", "scrambled"):
            raise ValueError(f"channels {channels!r}: use 'gray' (the film three times) or 'scrambled' (the authors' reshape)")
        if pooling not in POOLINGS:
            raise ValueError(
                f"pooling {pooling!r}: use 'everywhere' (global average pooling, the paper), 'lungs', or 'zones' (each seen alone)"
            )
        self.scrambles = channels == "scrambled"
        self.tasks = tuple(tasks)
        self.origin = backbone.origin
        self.backbone = backbone.module
        self.last_map = "" if self.scrambles else backbone.last_map  # a place of a scrambled film is no place of the chest
        self.pooling = pooling
        if not self.last_map and self.chooses_places:
            raise ValueError(
                "tasks of single zones, and pooling 'lungs' or 'zones', need a place for every feature: a backbone with a last map, "
                "and channels 'gray'"
            )
        classes = {task.output: len(task.classes) for task in self.tasks}
        self.heads = nn.ModuleDict({name: Head(backbone.features, n, hidden, dropout) for name, n in classes.items()})
        mean, std = torch.tensor(backbone.mean), torch.tensor(backbone.std)
        if normalisation == "none":
            mean, std = torch.zeros(3), torch.ones(3)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.scale.device

    @property
    def chooses_places(self) -> bool:
        """Whether any head has a mean of its own, over a part of the film."""
        return self.pooling != "everywhere" or any(task.zone is not None for task in self.tasks)

    def forward(self, films: Tensor) -> dict[str, Tensor]:
        given = self.sights(films) if self.chooses_places else [Sight(self.backbone(self._prepared(films)))] * len(self.tasks)
        return {task.name: self.heads[task.output](sight.features) for task, sight in zip(self.tasks, given, strict=True)}

    def sights(self, films: Tensor) -> list[Sight]:
        """Of each task: what its head is given, computed once for all heads, and from where."""
        if self.pooling == "zones":
            return self._sights_of_zones(films)
        shared, feature_map = self._seen_by_backbone(films)
        lungs = lungs_on(films, feature_map) if self.pooling == "lungs" else None
        of_zone = {}
        for zone in dict.fromkeys(task.zone for task in self.tasks):
            places = places_of(zone, feature_map, lungs)
            of_zone[zone] = Sight(shared if places is None else places.mean(feature_map), ((feature_map, places),))
        return [of_zone[task.zone] for task in self.tasks]

    def _sights_of_zones(self, films: Tensor) -> list[Sight]:
        zones = close_ups(films)
        _, maps = self._seen_by_backbone(zones.pixels.flatten(0, 1)[:, None])
        each = maps.unflatten(0, (-1, CUT_OUTS)).unbind(1)
        of_zone = []
        for zone, feature_map in enumerate(each):
            places = zones.places(zone, feature_map)
            of_zone.append(Sight(places.mean(feature_map), ((feature_map, places),)))
        pieces = tuple(piece for sight in of_zone for piece in sight.pieces)
        whole = Sight(torch.stack([sight.features for sight in of_zone]).mean(0), pieces)
        return [whole if task.zone is None else of_zone[task.zone] for task in self.tasks]

    def _prepared(self, films: Tensor) -> Tensor:
        pixels = scrambled(films) if self.scrambles else films
        return (pixels.float() * self.scale).add_(self.shift)  # (B, 1 or 3, S, S) · (1, 3, 1, 1) → (B, 3, S, S)

    def _seen_by_backbone(self, films: Tensor) -> tuple[Tensor, Tensor]:
        """Films (B, 1, S, S) → features (B, F) and the last map (B, F, h, w) that they are the mean of."""
        with seen(self.backbone.get_submodule(self.last_map)) as maps:
            features = self.backbone(self._prepared(films))
        return features, maps[0]


def scrambled(films: Tensor) -> Tensor:
    """(B, 1, S, S) → (B, 3, S, S) as in the authors' loader, which reshapes S×S×3 to 3×S×S where it should transpose.

    A defect of theirs, kept for comparison: channel c holds about the c-th third of the film's rows, each row cut into three and
    stretched threefold, so the backbone never sees a whole chest.
    """
    batch, _, height, width = films.shape
    return films.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).reshape(batch, 3, height, width)


def create(
    backbone: str,
    weights: str,
    tasks: Sequence[Task],
    hidden: int,
    dropout: float,
    seed: int,
    normalisation: str = "backbone",
    channels: str = "gray",
    folder: Path | None = None,
    pooling: str = "everywhere",
) -> Network:
    """A network as it starts, seeded: the same arguments give the same numbers. `folder` holds ImageNet weights."""
    torch.manual_seed(seed)
    return Network(build(backbone, weights, folder), tasks, hidden, dropout, normalisation, channels, pooling)


class Explained(nn.Module):
    """The network with a tuple for an output, because a graph's outputs have an order and a dict has not: the logits of each task, then
    the evidence for each task's answer where the backbone has a map to take it from."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, film: Tensor) -> tuple[Tensor, ...]:
        network = self.network
        if not network.last_map:
            logits = network(film)
            return tuple(logits[task.name] for task in network.tasks)
        heads = [network.heads[task.output] for task in network.tasks]
        looked = list(zip(heads, network.sights(film), strict=True))
        return *(head(sight.features) for head, sight in looked), *(evidence(head, sight) for head, sight in looked)


def export_onnx(network: Network, size: int, path: Path) -> None:
    """Network → ONNX: input "film" uint8 (N, 1, size, size) with N free, one output of logits per task, named by the task.

    A backbone with a `last_map` adds "evidence_<task>" (N, classes, h, w) float per task, h = w = size / 32 (size / 8 with pooling
    "lungs" or "zones"): see `evidence`. An engine computes it when asked for.
    """
    network = network.cpu().eval()
    example = torch.zeros(2, 1, size, size, dtype=torch.uint8)  # a batch of 1 would be baked in as a constant
    tasks = [task.name for task in network.tasks]
    program = torch.onnx.export(
        Explained(network).eval(),
        (example,),
        dynamo=True,
        input_names=["film"],
        output_names=[*tasks, *(EVIDENCE + name for name in tasks if network.last_map)],
        dynamic_shapes={"film": {0: torch.export.Dim("films", min=1, max=1024)}},
        verbose=False,
    )
    graph = program.model_proto
    for part in (*graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output, graph.graph):
        del part.metadata_props[:]  # the exporter leaves stack traces there, with the paths of this machine
    path.write_bytes(graph.SerializeToString(deterministic=True))
