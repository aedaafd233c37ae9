"""`make bench-prepare`: preparation end to end against the sum of its stages and against the usual pipeline. Writes benchmarks/prepare.md.

Contenders take turns; figures are own CPU time, so that other work on the machine changes them little, and wall time beside it.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks.clock import Spent, middle, spent
from benchmarks.page import ROOT
from benchmarks.prepare import material, stages, usual
from benchmarks.prepare.report import PUBLISHED, Figures, blocks
from cxr.pipeline import PipelineSpec
from training.data.films import JOURNAL, open_pixels, prepare_cohort, unet
from training.data.films.manifest import Ledger, read_journal
from training.data.films.preparing import graph_digest, store_folder

STATE, OUTPUT = ROOT / "state" / "bench" / "prepare", ROOT / "benchmarks" / "prepare.md"
SPEC = PipelineSpec()


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.prepare.run")
    options.add_argument("--quick", action="store_true", help="a minute, to see that it runs")
    options.add_argument("--output", type=Path, default=OUTPUT)
    options.add_argument("--state", type=Path, default=STATE, help="where films and the U-Net are made, once")
    options.add_argument("--unet", type=Path, help="ONNX file of a lung U-Net, instead of one trained on phantoms")
    given = options.parse_args()
    # Comparing engines takes 64 films, whatever the length of the run.
    each, copies, rounds, trials = (8, 3, 1, 2) if given.quick else (16, 5, 3, 5)
    files, graph = material.films(given.state / "films", each), given.unet or material.unet(given.state / "home")
    work = given.state / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    bench = Bench(work, graph, files)
    bench.product("first", 2, copies)
    engines = unet.known(work / "first", graph_digest(graph), SPEC) or []
    runs: dict[tuple[int, int], list[dict[str, Any]]] = {}
    others: dict[int, list[Spent]] = {side: [] for side in usual.SIDES}
    for i in range(rounds):
        for workers in (1, 2):
            for many in (1, copies):
                runs.setdefault((workers, many), []).append(bench.product(f"{i}-{workers}-{many}", workers, many))
        for side, taken in others.items():
            taken.append(bench.usual(files[:12], side))
    some = files[: 3 * (2 if given.quick else 4)]
    costs = stages.measure(some, SPEC, graph, unet.fastest(engines), trials)
    cut = bench.killed(copies)
    figures = Figures(len(files), copies, engines, runs, others, costs, cut, bench.opening(), given.quick)
    page.write(given.output, blocks(figures))
    shutil.rmtree(work)
    sys.stdout.write(f"{given.output}\n")


class Bench:
    """The contenders, each in a process of its own, on one folder."""

    def __init__(self, work: Path, graph: Path, files: list[Path]) -> None:
        self._work, self._graph, self._files = work, graph, files

    def product(self, store: str, workers: int, copies: int) -> dict[str, Any]:
        """Into a store of that name, where it goes on if there is one."""
        taken: dict[str, Any] = json.loads(subprocess.run(self._command(store, workers, copies), **_RUN).stdout)
        return taken

    def _command(self, store: str, workers: int, copies: int) -> list[str]:
        folder = self._work / store
        folder.mkdir(exist_ok=True)
        for record in (self._work / "first").glob("engines-*.json"):
            if not (folder / record.name).exists():
                shutil.copyfile(record, folder / record.name)  # measured once, as on any machine
        given = [self._work / "links", folder, self._graph, workers, copies, *self._files]
        return [sys.executable, "-m", "benchmarks.prepare.product", *map(str, given)]

    def usual(self, files: list[Path], side: int) -> Spent:
        """Per film, stored as a PNG of `side` pixels."""
        folder = self._work / "usual"
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.prepare.usual", str(folder), str(side), *map(str, files)]
        return Spent(*map(float, subprocess.run(command, **_RUN).stdout.split())).per(len(files))

    def killed(self, copies: int) -> dict[str, Any]:
        """kill -9 in the middle, then the same command again: what was ready, what was done again, and whether the end is the same."""
        whole = self.product("whole", 2, copies)
        with subprocess.Popen(self._command("cut", 2, copies), env=_ENVIRONMENT, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            journal = Path(whole["folder"].replace("/whole/", "/cut/")) / JOURNAL
            while len(read_journal(journal)) < whole["films"] // 3 and process.poll() is None:
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        ready = len(read_journal(journal))
        again = self.product("cut", 2, copies)
        same = films_of(Path(whole["folder"])) == films_of(Path(again["folder"]))
        return {"films": whole["films"], "ready": ready, "same": same, "cpu": again["cpu"], "whole": whole["cpu"]}

    def opening(self) -> Spent:
        """Median of eleven: to find PUBLISHED films prepared and to map their pixels."""
        root = self._work / "opening"
        rows = material.cohort(self._files, -(-PUBLISHED // len(self._files)), self._work / "links").rows[:PUBLISHED]
        one = material.Cohort("published", tuple(rows))
        folder = store_folder(root, one.name, SPEC, graph_digest(self._graph))
        folder.mkdir(parents=True)
        ledger = Ledger(folder, SPEC.size**2)
        slots = ledger.slots(row.id for row in one.rows)
        with ledger:
            for row in one.rows:
                stat = row.image.stat()
                entry = {"row": row.id, "slot": slots[row.id], "bytes": stat.st_size, "modified": stat.st_mtime_ns}
                entry |= {"source": f"{slots[row.id]:064}", "by": str(unet.REFERENCE), "digest": f"{slots[row.id]:064}"}
                ledger.add(entry | {"verdict": "both-lungs", "box": [100, 200, 900, 1000], "coverage": 0.3})
        ledger.fold({})
        return middle([spent(lambda: prepare_cohort(one, root, SPEC, self._graph, 1).pixels()) for _ in range(11)])


def films_of(folder: Path, size: int = SPEC.size) -> dict[str, tuple[int, str, str]]:
    """Of each row its slot, the digest that the manifest tells, and that of the bytes which lie in the slot."""
    pixels, entries = open_pixels(folder, size), Ledger(folder, size**2).entries
    return {
        row: (one["slot"], one.get("digest", ""), hashlib.sha256(pixels[one["slot"]].tobytes()).hexdigest())
        for row, one in entries.items()
    }


_ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
_RUN: Any = {"capture_output": True, "text": True, "check": True, "cwd": ROOT, "env": _ENVIRONMENT}

if __name__ == "__main__":
    main()
