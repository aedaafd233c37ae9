"""From the limit to the service, step by step: what the threads of one process, decoding in disposable processes, and HTTP each take.

    python -m benchmarks.serving.steps    prints the section of benchmarks/serving.md

Steps take turns within a round.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from benchmarks.page import table
from benchmarks.serving import bare, load
from benchmarks.serving.contenders import Networks, request, running
from benchmarks.serving.made import made_films, networks_of
from benchmarks.serving.report import rate
from benchmarks.serving.service import chosen_engine
from serving.settings import Settings

THREADS = 2
TITLES = (
    "two processes of one thread, the limit",
    "two threads of one process",
    "one thread more, as in the service, and PNG and JPEG decoded by disposable processes",
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
        f"mobilenet_v2, {engine}, films per second and their ratio to the limit of the same round; medians of {rounds} rounds. Alone: "
        "`python -m benchmarks.serving.steps`.",
        table(("", *found), rows),
    ]


def _steps(networks: Networks, engine: str, kind: str, file: Path, seconds: float) -> list[float]:
    """Films per second of each step."""
    service = Settings()
    ways = ((THREADS, 1, 0), (1, THREADS, 0), (1, service.workers, service.files_per_decoder))
    rates = [rate(bare.loops(networks.bundle, file, seconds, engine, 1, *way)) for way in ways]
    asked = request("ours", kind, file.read_bytes())
    with running("ours", networks, asked) as server:
        load.run(server.port, asked, THREADS, 0.5)
        rates.append(load.run(server.port, asked, 8, seconds).rate)
    return rates


def _told(rates: list[float], limits: list[float]) -> str:
    return f"{median(rates):.1f} ({median(found / limit for found, limit in zip(rates, limits, strict=True)):.2f})"


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    networks = networks_of("mobilenet_v2", "product")
    sys.stdout.write("\n\n".join(section(networks, chosen_engine(networks.bundle), made_films(), 3, 3)) + "\n")


if __name__ == "__main__":
    main()
