"""`python -m benchmarks.prepare.product LINKS STORE UNET WORKERS COPIES FILES…`: the product in a process of its own, and what it took."""

import json
import sys
from pathlib import Path

from benchmarks.clock import now, since, spent
from benchmarks.prepare.material import cohort
from cxr.pipeline import PipelineSpec
from training.data.films import FilmStore, prepare_cohort


def main(links: str, store: str, unet: str, workers: str, copies: str, *files: str) -> None:
    rows = cohort([Path(file) for file in files], int(copies), Path(links))

    def prepare() -> FilmStore:
        return prepare_cohort(rows, Path(store), PipelineSpec(), Path(unet), int(workers))

    begun = now()
    prepared = prepare()
    took = since(begun)
    said = {"wall": took.wall, "cpu": took.cpu, "films": len(rows.rows), "usable": len(prepared.usable)}
    sys.stdout.write(json.dumps(said | {"folder": str(prepared.folder), "opening": spent(prepare).cpu}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
