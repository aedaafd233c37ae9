"""What a film costs each backbone on this machine's CPU: `python -m training.learning.backbones.costs [FILE]`.

Milliseconds of CPU time per film of one training step and of evaluation, one thread, batch of 16, the least of several tries, since
whatever else runs can only add. `mdmt plan` reads the committed file, `training/protocol/costs.json`, where no finished unit tells better.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from cxr.host import processor
from cxr.tasks import PROGNOSIS, SEVERITY
from training.learning.backbones import NAMES
from training.learning.network import Network, create
from training.learning.objective import masked_loss

SIZES, BATCH, TRIES = (64, 224), 16, 3
FILE = Path(__file__).parents[2] / "protocol" / "costs.json"


def measure(name: str, size: int) -> dict[str, float]:
    """{"train", "evaluate"}: milliseconds per film."""
    network = create(name, "scratch", (PROGNOSIS, SEVERITY), 128, 0.5, seed=0).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), 1e-4, fused=True)
    films = torch.randint(0, 256, (BATCH, 1, size, size), dtype=torch.uint8)
    labels, known = torch.zeros(BATCH, 2, dtype=torch.int64), torch.ones(BATCH, 2, dtype=torch.bool)

    def step() -> None:
        loss = masked_loss(network(films), labels, known, ("prognosis", "severity"))
        optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        optimiser.step()

    network.train()
    train = least(step)
    return {"train": train, "evaluate": least(lambda: _evaluate(network, films))}


def least(step: Callable[[], object]) -> float:
    step()  # kernels are made at the first call
    found = []
    for _ in range(TRIES):
        began = time.process_time()
        step()
        found.append((time.process_time() - began) * 1000 / BATCH)
    return round(min(found), 2)


@torch.inference_mode()
def _evaluate(network: Network, films: torch.Tensor) -> None:
    network.eval()
    network(films)


def main() -> None:
    torch.set_num_threads(1)
    costs = {name: {str(size): measure(name, size) for size in SIZES} for name in NAMES}
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    content = {"cpu": processor(), "torch": torch.__version__, "batch": BATCH, "milliseconds": costs}
    file.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
