"""`compiled SIZE BATCH`: what torch.compile makes of the step of shufflenet_v2_x0_5 on a CPU.

Prints the seconds that compiling took, and the processor time of a step per that of the step as it is (channels_last, float32).
"""

import sys
import time

import torch

from benchmarks.clock import interleaved, ratio
from benchmarks.training.contenders import ByHand
from training.learning.devices import Way
from training.memory import keep_freed_buffers

WAY = Way("channels_last", "float32")


def main() -> None:
    size, batch = map(int, sys.argv[1:])
    torch.set_num_threads(1)
    keep_freed_buffers()
    plain, compiled = (ByHand("shufflenet_v2_x0_5", size, batch, WAY) for _ in range(2))
    compiled.body = torch.compile(compiled.body)
    begun = time.perf_counter()
    compiled.step(compiled.films, compiled.labels)
    seconds = time.perf_counter() - begun
    taken = interleaved({"plain": plain.resident(3), "compiled": compiled.resident(3)}, 5)
    print(seconds, ratio(taken["compiled"], taken["plain"]))  # noqa: T201


if __name__ == "__main__":
    main()
