"""A function run as one team of processes: `python -m tests.training.learning.ranks MODULE FUNCTION RANK SIZE FOLDER`."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from training.learning.team import Team

ROOT = Path(__file__).parents[3]


def together(size: int, function: Callable[[Team, Path], Any], folder: Path) -> list[Any]:
    """What `function(team, folder)` returns to each rank. An error in one fails all."""
    command = [sys.executable, "-m", "tests.training.learning.ranks", function.__module__, function.__name__]
    env = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ranks = [subprocess.Popen([*command, str(rank), str(size), str(folder)], env=env) for rank in range(size)]
    try:
        assert [rank.wait(240) for rank in ranks] == [0] * size
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(size)]


def main(module: str, function: str, rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=size)
    answer = getattr(import_module(module), function)(Team(rank, size), folder)
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(answer))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
