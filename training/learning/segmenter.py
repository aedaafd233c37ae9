"""The lung U-Net: trained on films with drawn lungs, exported as the ONNX graph that `cxr.segmentation` runs.

The paper crops every film to the lungs that a U-Net finds (section 3.1) and publishes no weights, so they are learnt here.
Masks come in two kinds (`training.data.lung_pairs`). As equation 2 does for tasks, the indicator of the kind that a pair has
selects the output that its loss reaches: every pair teaches the shared body, no output is taught the other kind.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from monai.networks.nets.unet import UNet
from numpy.typing import NDArray
from torch import Tensor, nn

from training.data.lung_pairs import LungPair, PairArrays, dice, load_arrays, split_pairs
from training.learning import checkpoint
from training.learning.lung_augmentation import augment
from training.learning.phases import Phases
from training.settings import SegmenterSettings


@dataclass(frozen=True)
class Epoch:
    """One line of the history. `loss` is the training mean; `dice` maps a definition to its mean validation Dice in 0..1."""

    number: int
    loss: float
    dice: Mapping[str, float]


@dataclass(frozen=True)
class DiceSummary:
    """Dice over films at size×size, 0..1."""

    mean: float
    median: float
    worst: float
    films: int


@dataclass(frozen=True)
class SegmenterResult:
    """Weights of the epoch with the best validation Dice. `test` maps a definition to Dice on patients that trained nothing."""

    settings: SegmenterSettings
    definitions: tuple[str, ...]
    state: Mapping[str, Tensor]
    best: int
    history: tuple[Epoch, ...]
    test: Mapping[str, DiceSummary]
    seconds: float
    cpu_seconds: float

    @property
    def mean_dice(self) -> float:
        """Mean test Dice per definition, averaged over definitions (pooling films would favour the larger set)."""
        return float(np.mean([summary.mean for summary in self.test.values()]))

    def network(self) -> "LungNetwork":
        """The trained network in evaluation mode."""
        network = LungNetwork(self.settings.channels, self.definitions)
        network.load_state_dict(dict(self.state))
        return network.eval()


class LungNetwork(nn.Module):
    """Film (N, 1, S, S) in [0, 1] → logits (N, D, S, S), one channel per definition.

    Each film is standardised here, not by the caller: it travels inside the graph and cannot be forgotten.
    """

    def __init__(self, channels: Sequence[int], definitions: Sequence[str]) -> None:
        super().__init__()
        self.definitions = tuple(definitions)
        halvings = (2,) * (len(channels) - 1)
        self.body = UNet(2, 1, len(self.definitions), channels, halvings, num_res_units=2, norm="batch")

    def forward(self, film: Tensor) -> Tensor:
        logits: Tensor = self.body(_standardised(film))
        return logits


def _standardised(film: Tensor) -> Tensor:
    centred = film - film.mean(dim=(1, 2, 3), keepdim=True)
    spread = (centred * centred).mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return centred / (spread + 1e-3)


class Exported(nn.Module):
    """Film → probability of the one definition that is served; `network` in evaluation mode."""

    def __init__(self, network: LungNetwork, definition: str) -> None:
        super().__init__()
        self.phases = Phases(network.body, network.definitions.index(definition))

    def forward(self, film: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(torch.sigmoid(self.phases(_standardised(film))), 2)


def train_segmenter(
    pairs: Sequence[LungPair],
    settings: SegmenterSettings,
    progress: Callable[[Epoch], None] = lambda epoch: None,
    checkpoints: Path | None = None,
    identity: str = "",
) -> SegmenterResult:
    """Pairs → U-Net. Split by patient, trained on `train`, epoch chosen on `val`, measured once on `test`.

    Equal pairs, settings and CPU kind give equal weights to the bit, also when the training was killed and goes on from its last
    epoch in the folder `checkpoints`; one of another `identity` there is refused (ForeignCheckpoint). ValueError when no pair has
    `settings.definition`.
    """
    definitions = tuple(sorted({pair.definition for pair in pairs}))
    if settings.definition not in definitions:
        raise ValueError(f"no pair shows {settings.definition!r}; the pairs given show: {', '.join(definitions)}")
    started, cpu_started = time.perf_counter(), time.process_time()
    split = split_pairs(pairs, settings.seed)
    train, val, test = (load_arrays(part, settings.size) for part in (split.train, split.val, split.test))
    with _seeded(settings):
        network = LungNetwork(settings.channels, definitions).to(memory_format=torch.channels_last)
        state, best, history = _fit(network, train, val, settings, progress, checkpoints, identity)
        network.load_state_dict(state)
        scores = dice_scores(network, test)
    summary = {name: DiceSummary(float(np.mean(s)), float(np.median(s)), float(np.min(s)), len(s)) for name, s in scores.items()}
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    return SegmenterResult(settings, definitions, state, best, history, summary, seconds, cpu_seconds)


def _fit(
    network: LungNetwork, train: PairArrays, val: PairArrays, settings: SegmenterSettings, progress: Callable[[Epoch], None],
    checkpoints: Path | None, identity: str,
) -> tuple[dict[str, Tensor], int, tuple[Epoch, ...]]:  # fmt: skip
    loss_of = DiceCELoss(sigmoid=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * math.ceil(len(train.films) / settings.batch)
    # Warm-up, then cosine. Not 0.1: torch divides by zero when the warm-up is exactly one step, here it never is.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, steps, pct_start=0.11)
    state: dict[str, Tensor] = {}
    history: list[Epoch] = []
    best = -1
    if checkpoints and (saved := checkpoint.load_own(checkpoints, identity)):
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        state, best, history = saved["state"], saved["best"], [Epoch(*row) for row in saved["history"]]
    for number in range(len(history), settings.epochs):
        network.train()
        losses = []
        for films, lungs, channel in _batches(train, network.definitions, settings, number):
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
                logits = network(films.contiguous(memory_format=torch.channels_last))
            drawn = logits.float()[torch.arange(len(films)), channel][:, None]  # the indicator: other definitions get no gradient
            loss = loss_of(drawn, lungs)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        mean = {name: float(np.mean(scores)) for name, scores in dice_scores(network, val).items()}
        history.append(Epoch(number, float(np.mean(losses)), mean))
        if best < 0 or mean[settings.definition] > history[best].dice[settings.definition]:
            best, state = number, {name: value.detach().clone() for name, value in network.state_dict().items()}
        progress(history[-1])
        if checkpoints:
            parts = {"network": network, "optimiser": optimiser, "schedule": schedule}
            own = {
                "identity": identity,
                "state": state,
                "best": best,
                "history": [list(vars(epoch).values()) for epoch in history],
            }
            checkpoint.save(checkpoints, own | {name: part.state_dict() for name, part in parts.items()})
    return state, best, tuple(history)


@torch.inference_mode()
def dice_scores(network: LungNetwork, arrays: PairArrays, threshold: float = 0.5) -> dict[str, NDArray[np.float64]]:
    """{definition: Dice per film}, each film judged on the channel of its own definition, float32, network in evaluation mode."""
    network.eval()
    scores: dict[str, list[float]] = {name: [] for name in network.definitions if name in arrays.definitions}
    for film, lungs, name in zip(arrays.films, arrays.lungs, arrays.definitions, strict=True):
        logits = network(torch.from_numpy(film).float()[None, None] / 255)
        found = torch.sigmoid(logits[0, network.definitions.index(name)]).numpy() >= threshold
        scores[name].append(dice(found, lungs))
    return {name: np.array(values) for name, values in scores.items()}


def export_onnx(result: SegmenterResult, path: Path, definition: str | None = None) -> None:
    """Write the graph: "film" float32 (N, 1, S, S) in [0, 1] → "lungs" float32 (N, 1, S, S) probability; N is free, opset 18.

    `definition` defaults to the one trained for; ValueError when the network has no channel for it.
    """
    wanted = definition or result.settings.definition
    if wanted not in result.definitions:
        raise ValueError(f"the network does not know {wanted!r}; it knows: {', '.join(result.definitions)}")
    film = torch.zeros(2, 1, result.settings.size, result.settings.size)
    program = torch.onnx.export(
        Exported(result.network(), wanted).eval(),
        (film,),
        input_names=["film"],
        output_names=["lungs"],
        opset_version=18,
        dynamo=True,
        dynamic_shapes={"film": {0: torch.export.Dim("films", min=1)}},
        verbose=False,
    )
    assert program is not None  # None is what the older exporter returns
    graph = program.model_proto
    for part in (*graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output, graph.graph):
        del part.metadata_props[:]  # the exporter leaves stack traces there, with the paths of this machine
    path.write_bytes(graph.SerializeToString(deterministic=True))


def _batches(
    arrays: PairArrays, definitions: Sequence[str], settings: SegmenterSettings, epoch: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """One epoch of augmented (films, lungs, channel): float32 (B, 1, S, S) twice and int64 (B,)."""
    order = np.random.default_rng([settings.seed, epoch]).permutation(len(arrays.films))
    channels = torch.tensor([definitions.index(name) for name in arrays.definitions])
    for start in range(0, len(order), settings.batch):
        chosen = order[start : start + settings.batch]
        films = torch.from_numpy(arrays.films[chosen]).float()[:, None] / 255
        lungs = torch.from_numpy(arrays.lungs[chosen]).float()[:, None]
        # One generator per film and epoch, so neither the batch size nor the order changes what happens to a film.
        generators = [np.random.default_rng([settings.seed, epoch, int(i)]) for i in chosen]
        yield *augment(films, lungs, generators, settings.odd), channels[torch.from_numpy(chosen)]


@contextmanager
def _seeded(settings: SegmenterSettings) -> Iterator[None]:
    """Seed and threads for the duration, the caller's afterwards: sums on another number of threads round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            yield
    finally:
        torch.set_num_threads(threads)
