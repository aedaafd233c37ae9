"""From the limit to the service, step by step: what the threads of one process, decoding in disposable processes, and HTTP each take.

    python -m benchmarks.serving.steps    prints the section of benchmarks/serving.md

Steps take turns within a round.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from benchmarks.page import table
from benchmarks.serving import load
from benchmarks.serving.contenders import Networks, request, running
from benchmarks.serving.made import made_films, networks_of
from benchmarks.serving.report import rate
from benchmarks.serving.service import chosen_engine
from benchmarks.side_by_side import side_by_side, wait_for_the_others
from cxr.bundle import Bundle
from cxr.reading import Limits
from serving.allocator import keep_little
from serving.settings import Settings

THREADS = 2
TITLES = (
    "two processes of one thread, the limit",
    "two threads of one process",
    "the same, PNG and JPEG decoded by disposable processes",
    "the service, asked 8 times at once",
)


def section(networks: Networks, engine: str, files: Mapping[str, Path], rounds: int, seconds: float) -> list[str]:
    """The steps on each kind of film, in turn within a round, as blocks of Markdown."""
    found = {
        kind: [_steps(networks, engine, kind, file, seconds) for _ in range(rounds)] for kind, file in files.items()
    }  # films per second by round and step
    rows = [
        (title, *(_told([one[step] for one in each], [one[0] for one in each]) for each in found.values()))
        for step, title in enumerate(TITLES)
    ]
    return [
        "## From the limit to the service",
        f"mobilenet_v2, {engine}, films per second and their ratio to the limit of the same round; medians of {rounds} rounds.",
        table(("", *found), rows),
    ]


def _steps(networks: Networks, engine: str, kind: str, file: Path, seconds: float) -> list[float]:
    """Films per second of each step."""
    bare = side_by_side("benchmarks.serving.bare", (networks.bundle, file, 1, seconds, engine), THREADS, {})
    rates = [rate([json.loads(told) for told in bare])]
    for files in (0, Settings().files_per_decoder):
        (told,) = side_by_side("benchmarks.serving.steps", (networks.bundle, file, seconds, engine, files), 1, {})
        rates.append(float(told))
    asked = request("ours", kind, file.read_bytes())
    with running("ours", networks, asked) as server:
        load.run(server.port, asked, THREADS, 0.5)
        rates.append(load.run(server.port, asked, 8, seconds).rate)
    return rates


def _told(rates: list[float], limits: list[float]) -> str:
    return f"{median(rates):.1f} ({median(found / limit for found, limit in zip(rates, limits, strict=True)):.2f})"


def loop(folder: Path, file: Path, seconds: float, engine: str, files_per_decoder: int) -> None:
    """Answer a film on two threads for that long, in a process that `side_by_side` started; prints films per second."""
    keep_little(THREADS)
    bundle, film = Bundle(folder, 1, engine, THREADS), file.read_bytes()
    limits = Limits(files_per_decoder=files_per_decoder)
    for _ in range(3):
        bundle.predict(film, limits)
    wait_for_the_others()
    began = time.perf_counter()

    def answer(_: int) -> int:
        count = 0
        while time.perf_counter() - began < seconds:
            bundle.predict(film, limits)
            count += 1
        return count

    with ThreadPoolExecutor(THREADS) as pool:
        films = sum(pool.map(answer, range(THREADS)))
    sys.stdout.write(f"{films / (time.perf_counter() - began)}\n")


def main() -> None:
    if len(sys.argv) > 1:
        folder, file, seconds, engine, files = sys.argv[1:]
        loop(Path(folder), Path(file), float(seconds), engine, int(files))
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    networks = networks_of("mobilenet_v2", "product")
    sys.stdout.write("\n\n".join(section(networks, chosen_engine(networks.bundle), made_films(), 3, 3)) + "\n")


if __name__ == "__main__":
    main()
