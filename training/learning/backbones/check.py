"""`python -m training.learning.backbones.check NAME FILE`: exit 0 when the tensors of a file fit a backbone, 1 with the reason.

A program of its own, because the command line must not load torch, and because a file from elsewhere is better opened elsewhere.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from training.imagenet import WeightsRefused
from training.learning.backbones import UnknownBackbone, family_of
from training.learning.backbones.pretrained import read


def main(arguments: Sequence[str]) -> int:
    name, file = arguments
    try:
        family_of(name).build(name, read(Path(file)))
    except (WeightsRefused, UnknownBackbone) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
