"""`python -m benchmarks.prepare.product LINKS STORE UNET WORKERS COPIES FILES…`: the product in a process of its own, and what it took:
seconds, and the MiB that it and its largest worker held at most.
"""

import json
import resource
import sys
from pathlib import Path

from benchmarks.clock import now, since
from benchmarks.prepare.material import cohort
from cxr.pipeline import PipelineSpec
from training.data.films import prepare_cohort
from training.memory import peak_resident


def main(links: str, store: str, unet: str, workers: str, copies: str, *files: str) -> None:
    rows = cohort([Path(file) for file in files], int(copies), Path(links))

    begun = now()
    prepared = prepare_cohort(rows, Path(store), PipelineSpec(), Path(unet), int(workers))
    took = since(begun)
    # Of this process and of its largest worker; ru_maxrss counts KiB.
    peak = peak_resident() + (resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10)
    said = {"peak": peak / 2**20, "wall": took.wall, "cpu": took.cpu, "films": len(rows.rows), "usable": len(prepared.usable)}
    sys.stdout.write(json.dumps(said | {"folder": str(prepared.folder)}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
