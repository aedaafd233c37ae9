"""Whether the tensors of a file fit a backbone, asked of another process, because torch is not loaded here."""

import subprocess
import sys
from pathlib import Path

from training.imagenet import WeightsRefused

SECONDS = 300
ROOT = Path(__file__).parents[2]  # where `training` is found whatever folder the command was given in


def refuse_unfit(name: str, file: Path) -> None:
    """Raises WeightsRefused with the reason; also when the checking process dies of the file."""
    command = [sys.executable, "-m", "training.learning.backbones.check", name, str(file.resolve())]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise WeightsRefused(f"{file.name} was not read within {SECONDS} seconds") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise WeightsRefused(said[-1] if said else f"{file.name}: the check ended with signal or code {done.returncode}")
