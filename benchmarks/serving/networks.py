"""The networks of the comparison, seeded instead of trained: as torch modules for the peers, as a bundle for the service.

What a network weighs and computes does not depend on its training; where the lungs are does, so the mask is the film's dark part,
with the U-Net's own output added so faintly that no engine can leave it out and no mask can depend on it.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from benchmarks.serving.films import film
from cxr.bundle import Bundle
from cxr.manifest import CARD, GOLDEN, NETWORK, SEGMENTER, GoldenCase, write_manifest
from cxr.pipeline import PipelineSpec
from cxr.tasks import PROGNOSIS, SEVERITY
from training.learning import network
from training.learning.backbones import build
from training.learning.segmenter import Exported, LungNetwork
from training.settings import SegmenterSettings

SPEC = PipelineSpec(size=224)
TASKS = (PROGNOSIS, SEVERITY)
TEMPERATURES = {task.name: 1.0 for task in TASKS}
GOLDEN_FILMS, GOLDEN_SIDE = 4, 640
FAINT, DARK, STEEP = 1e-6, 0.4, 40.0


class Lungs(nn.Module):
    """Film (N, 1, 256, 256) in [0, 1] → probability of lung."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, film: Tensor) -> Tensor:
        return torch.sigmoid(STEEP * (DARK - film) + FAINT * torch.tanh(self.unet(film)))


class ResNetUNet(nn.Module):
    """A U-Net on the encoder of ResNet-18, decoder of 256, 128, 64, 32, 16 channels: 14 million weights."""

    def __init__(self) -> None:
        super().__init__()
        self.body = resnet18(weights=None)
        widths = [(512 + 256, 256), (256 + 128, 128), (128 + 64, 64), (64 + 64, 32), (32, 16)]
        self.up = nn.ModuleList(nn.Sequential(_conv(inside, out), _conv(out, out)) for inside, out in widths)
        self.head = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, film: Tensor) -> Tensor:
        body = self.body
        stem = body.relu(body.bn1(body.conv1(film.expand(-1, 3, -1, -1))))
        levels = [stem]
        found = body.maxpool(stem)
        for layer in (body.layer1, body.layer2, body.layer3, body.layer4):
            found = layer(found)
            levels.append(found)
        skips = [*levels[-2::-1], None]
        for block, skip in zip(self.up, skips, strict=True):
            found = nn.functional.interpolate(found, scale_factor=2.0)
            found = block(found if skip is None else torch.cat([found, skip], dim=1))
        return self.head(found)


def _conv(inside: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inside, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def lungs(unet: str, exported: bool = False) -> Lungs:
    """`unet` "product": as `mdmt segmenter train` makes it, and with `exported` as it writes it; "resnet18": as published ones are."""
    torch.manual_seed(1)
    if unet == "resnet18":
        return Lungs(ResNetUNet()).eval()
    network = LungNetwork(SegmenterSettings().channels, ("lungs",)).eval()
    return Lungs(Exported(network, "lungs") if exported else network).eval()


def classifier(backbone: str) -> network.Network:
    """Both tasks on a seeded backbone, with the statistics of some noise instead of those of a new BatchNorm."""
    torch.manual_seed(2)
    made = network.Network(build(backbone), TASKS)
    with torch.inference_mode():
        made.train()(torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 1, SPEC.size, SPEC.size), dtype=np.uint8)))
    return made.eval()


def write_bundle(folder: Path, backbone: str, unet: str = "product") -> Path:
    """What the service loads."""
    folder.mkdir(parents=True, exist_ok=True)
    network.export_onnx(classifier(backbone), SPEC.size, folder / NETWORK)
    program = torch.onnx.export(
        lungs(unet, exported=True), (torch.zeros(2, 1, 256, 256),), input_names=["film"], output_names=["lungs"], opset_version=18,
        dynamo=True, dynamic_shapes={"film": {0: torch.export.Dim("films", min=1)}}, verbose=False,
    )  # fmt: skip
    assert program is not None  # None is what the older exporter returns
    (folder / SEGMENTER).write_bytes(program.model_proto.SerializeToString())
    goldens = (GOLDEN, *(f"golden-{number}.png" for number in range(2, GOLDEN_FILMS + 1)))  # as registration makes them
    for seed, name in enumerate(goldens):
        (folder / name).write_bytes(film("png", seed=9 + seed, side=GOLDEN_SIDE))
    (folder / CARD).write_text("# Networks of the benchmark: seeded, never trained\n")
    blank = GoldenCase(probabilities={task.name: [0.0] * len(task.classes) for task in TASKS}, box=(0, 0, 0, 0), film_digest="")
    write_manifest(folder, SPEC, TASKS, TEMPERATURES, blank, {"run": "benchmark"}, more_golden=dict.fromkeys(goldens[1:], blank))
    bundle = Bundle(folder)
    first, *others = (_golden(bundle, (folder / name).read_bytes()) for name in goldens)
    more = dict(zip(goldens[1:], others, strict=True))
    write_manifest(folder, SPEC, TASKS, TEMPERATURES, first, {"run": "benchmark"}, more_golden=more)
    return folder


def _golden(bundle: Bundle, data: bytes) -> GoldenCase:
    known = bundle.predict(data)
    return GoldenCase(
        probabilities={name: list(given.probabilities) for name, given in known.answers.items()},
        box=tuple(known.film.box),
        film_digest=known.film.digest,
    )
