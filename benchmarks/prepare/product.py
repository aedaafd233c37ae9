"""`python -m benchmarks.prepare.product LINKS STORE UNET WORKERS COPIES FILES…`: the product in a process of its own, and what it took."""

import json
import resource
import sys
import time
from pathlib import Path

from benchmarks.prepare.material import cohort
from cxr.pipeline import PipelineSpec
from training.data.films import prepare_cohort


def main(links: str, store: str, unet: str, workers: str, copies: str, *files: str) -> None:
    rows = cohort([Path(file) for file in files], int(copies), Path(links))
    before, begun = _cpu(), time.perf_counter()
    prepared = prepare_cohort(rows, Path(store), PipelineSpec(), Path(unet), int(workers))
    took = {"wall": time.perf_counter() - begun, "cpu": _cpu() - before, "films": len(rows.rows), "usable": len(prepared.usable)}
    begun = time.process_time()
    prepare_cohort(rows, Path(store), PipelineSpec(), Path(unet), int(workers))
    sys.stdout.write(json.dumps(took | {"folder": str(prepared.folder), "opening": time.process_time() - begun}) + "\n")


def _cpu() -> float:
    """Of this process and of those that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    main(*sys.argv[1:])
