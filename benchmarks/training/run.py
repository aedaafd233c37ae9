"""`python -m benchmarks.training.run [--quick] [--output FILE]`: measure the training loop beside others and write the Markdown file."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import page, peers
from benchmarks.clock import interleaved
from benchmarks.page import ROOT
from benchmarks.training import epoch, parts, pictures, stacked
from benchmarks.training.contenders import ByHand, Others, OwnFit, network_of, own_step
from benchmarks.training.writing import FIT, KEPT, OTHERS, STEP, blocks
from training.learning import calibration
from training.learning.devices import Way
from training.memory import keep_freed_buffers

# backbone, size in px, films of a step, steps of a round: what one round of all contenders takes is seconds
STANDARD = (
    ("shufflenet_v2_x0_5", 96, 64, 3), ("shufflenet_v2_x0_5", 224, 16, 3), ("mobilenet_v2", 96, 32, 2),
    ("mobilenet_v2", 224, 8, 2), ("resnet18", 96, 32, 2), ("resnet18", 224, 8, 2),
)  # fmt: skip
QUICK = (("shufflenet_v2_x0_5", 32, 16, 2),)


def contest(case: tuple[str, int, int, int], folder: Path, films: int, rounds: int) -> dict[str, Any]:
    """One backbone at one size: the ways it may compute, and everybody's time per film in the fastest."""
    backbone, size, batch, steps = case
    ways = calibration.calibrate(network_of(backbone), size, batch, "cpu", steps=2 if films < 64 else 4)
    way = calibration.fastest(ways)
    fit = OwnFit(backbone, folder, size, batch, way, steps, rounds + 1)
    runs = {
        KEPT: ByHand(backbone, size, batch, way).resident(steps),
        STEP: own_step(backbone, size, batch, way, steps),
        FIT: fit.run,
    }
    try:
        with Others(backbone, folder, films, size, batch, way, steps) as others:
            taken = interleaved(runs | others.runs, rounds)
    finally:
        fit.end()
    return {"case": case, "ways": ways, "way": way, "taken": taken}


def surroundings(folder: Path, quick: bool) -> dict[str, Any]:
    """All that is not a step."""
    size, batch, epochs = (32, 8, 3) if quick else (96, 128, 5)
    wide, device_batch = (32, 16) if quick else (224, 128)
    way = Way("channels_last", "float32")
    found: dict[str, Any] = {
        "data": {s: parts.data_path(folder, s, 64, 3 if quick else 15) for s in ({size, wide})},
        "bits": len(parts.bits(folder, wide)),
        "epoch": epoch.ends("shufflenet_v2_x0_5", folder, size, batch, way, epochs),
        "device": {rate: parts.simulated(folder, wide, device_batch, rate, 2 if quick else 6) for rate in (1000, 4000)},
        "epoch_case": (size, batch), "device_case": (wide, device_batch),
    }  # fmt: skip
    steps, memory_batch, memory_size = (4, 8, 32) if quick else (6, 32, 224)
    shown = "shufflenet_v2_x0_5"
    case = (shown, folder, memory_size, memory_batch)
    few = 4 * memory_batch if quick else 6 * memory_batch
    cases = {
        "hand": lambda: parts.fresh("one_process", "hand", *case, 0, steps, "given-back"),
        "fit": lambda: parts.fresh("one_process", "fit", *case, few, 0, "kept"),
    }
    found["memory"] = parts.alternating(cases, 1 if quick else 2)
    found["memory_case"] = (shown, memory_size, memory_batch, few * memory_size**2 / 2**20)
    if not quick:
        found["kept"] = {
            backbone: parts.alternating(
                {
                    how: lambda h=how, b=backbone: parts.fresh("one_process", "fit", b, folder, 96, 32, 192, 0, h)
                    for how in ("given-back", "kept")
                },
                4,
            )
            for backbone in ("shufflenet_v2_x0_5", "mobilenet_v2")
        }
        found["compiled"] = parts.compiled(96, 64, 240)
        found["stacked"] = stacked.gains("shufflenet_v2_x0_5", 96, 16, (2, 3, 5), 3)
    return found


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.training.run", description=__doc__)
    options.add_argument(
        "--quick", action="store_true", help="one small network, to see that everything runs; no figures to believe"
    )
    options.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "training.md")
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    torch.set_num_threads(1)
    keep_freed_buffers()  # as in a worker
    cases, rounds, films = (QUICK, 1, 16) if asked.quick else (STANDARD, asked.rounds, 192)
    python, missing = Path(sys.executable), "lightning and accelerate are left out of the quick form"
    if not asked.quick:
        python, missing = peers.environment(OTHERS, OTHERS)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for size in {case[1] for case in cases} | ({32} if asked.quick else {96, 224}):
            pictures.make(folder, 40 if asked.quick else films, size)
        loops = parts.loops(python, 50 if asked.quick else 400, 2 if asked.quick else 9)
        found = surroundings(folder, asked.quick) | {"loops": loops, "missing": missing}
        found["contests"] = [contest(case, folder, films, rounds) for case in cases]
    page.write(asked.output, blocks(found, asked.quick, rounds))


if __name__ == "__main__":
    main()
