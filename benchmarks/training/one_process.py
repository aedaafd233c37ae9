"""Train for a moment in a process of its own: `one_process hand|fit BACKBONE FOLDER SIZE BATCH FILMS STEPS kept|given-back`.

Prints growth of the peak memory in MiB, processor seconds per film, and page faults per film, both after the first step. `kept` as the
last word: freed buffers are kept, as in a worker.
"""

import resource
import sys
import time
from pathlib import Path

import torch

from benchmarks.training import pictures
from benchmarks.training.contenders import ByHand, network_of
from training.learning.devices import Way
from training.learning.fitting import fit
from training.memory import keep_freed_buffers, peak_resident
from training.settings import Training

WAY = Way("channels_last", "float32")


def main() -> None:
    who, backbone, folder, size, batch, films, steps, freed = sys.argv[1:]
    if freed == "kept":
        keep_freed_buffers()
    torch.set_num_threads(1)
    before = peak_resident()
    marks: list[tuple[float, int]] = []

    def mark() -> None:
        marks.append((time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt))

    if who == "hand":
        trainer = ByHand(backbone, int(size), int(batch), WAY)
        for _ in range(int(steps)):
            trainer.step(trainer.films, trainer.labels)
            mark()
    else:
        train, val = (pictures.samples(Path(folder), n, int(size)) for n in (int(films), 2))
        settings = Training(batch_size=int(batch), max_epochs=1)
        fit(network_of(backbone), train, val, settings, 0, keep_going=mark, way=WAY)
    growth = (peak_resident() - before) / 2**20
    first, last, trained = marks[1], marks[-1], (len(marks) - 2) * int(batch)
    print(growth, (last[0] - first[0]) / trained, (last[1] - first[1]) / trained)  # noqa: T201


if __name__ == "__main__":
    main()
