"""What the tests under fire stand on: a film store of noise, units made by hand, runners as processes, and what must hold afterwards."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Run

from training import runs
from training.data.films import FILMS
from training.protocol.job import Job
from training.protocol.recipe import BackboneChoice, Running
from training.protocol.unit import Sample, Sheet, Unit
from training.settings import Training
from training.tracking import Tracking

ROOT = Path(__file__).parents[3]
PIXELS, COUNT = 32, 48


def film_store(folder: Path) -> Path:
    """COUNT films of noise in a store without a journal: units name their films themselves."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(7).integers(0, 256, (COUNT, PIXELS, PIXELS), dtype=np.uint8)
    (folder / FILMS).write_bytes(noise.tobytes())
    return folder


def sheet(films: int = COUNT) -> Sheet:
    """Half of the films train, a quarter validates, a quarter tests; both classes in each."""
    roles = ("train", "train", "val", "test")
    samples = [Sample("noise", f"{i:03}", i, f"digest-{i}", roles[i // 2 % 4], i, {"prognosis": i % 2}) for i in range(films)]
    return Sheet(samples=tuple(samples))


SHEET = sheet()


def unit(seed: int, epochs: int = 3, parents: tuple[str, ...] = (), fold: str = "", films: Sheet = SHEET) -> Unit:
    """A unit of a moment. `fold` is no part of the fingerprint: it tells the stand-in training how to misbehave."""
    return Unit(
        experiment="stl", backbone=BackboneChoice(name="shufflenet_v2_x0_5", weights="scratch"), subset="all", scheme="cv",
        repeat=0, fold=fold or f"cv-{seed}", tasks=("prognosis",), parents=parents, start="scratch", beta=0.5, batch_norm="average",
        training=Training(batch_size=8, max_epochs=epochs, patience=epochs, warmup_epochs=0, hidden=8), seed=seed, size=PIXELS,
        device="cpu", threads=1, sheet=films,
    )  # fmt: skip


def family(count: int, epochs: int = 3) -> list[Unit]:
    """`count` units; every fourth starts from the two before it, so that parents and deliveries come into play."""
    made: list[Unit] = []
    for seed in range(count):
        parents = (made[-1].fingerprint, made[-2].fingerprint) if seed % 4 == 3 else ()
        made.append(unit(seed, epochs, parents))
    return made


@dataclass
class Ground:
    """A home with a film store and a tracking server, and the jobs of a run. `claims_uri`: of MLflow's own database unless given."""

    home: Path
    tracking: Tracking
    films: Path
    claims_uri: str = ""
    server_uri: str = ""  # where workers send to; another than `tracking` when a fault proxy stands between

    def jobs(self, units: Sequence[Unit], **running: Any) -> list[Job]:
        """Jobs with no pictures, a lease of a minute and no demand on the disk, unless given otherwise."""
        parent = self.tracking.parent_run(self.tracking.experiment("mdmt-fire"), "group", "digest", {})
        how = Running(**({"pictures": "none", "free_gib": 0} | running))
        return [
            Job(
                unit=one, stores={"noise": self.films}, tracking_uri=self.server_uri or self.tracking.uri,
                claims_uri=self.claims_uri or self.tracking.claims_uri, home=self.home, weights=self.home / "weights",
                parent_run=parent, running=how,
            )
            for one in units
        ]  # fmt: skip

    def runs_of(self, unit: Unit) -> list[Run]:
        """Every run of a unit, whatever its status."""
        client = self.tracking.client
        experiments = [e.experiment_id for e in client.search_experiments()]
        return list(client.search_runs(experiments, f"tags.`mdmt.fingerprint` = '{unit.fingerprint}'"))

    def result(self, run: Run) -> dict[str, str]:
        """File name → SHA-256 of what a run holds, but for `seconds`-like accidents: predictions, history and weights."""
        files = runs.files_of(self.tracking.client, run)
        names = [item.path for item in files.list_artifacts()]
        return {n: hashlib.sha256(Path(files.download_artifacts(n)).read_bytes()).hexdigest() for n in names}

    def results(self, units: Sequence[Unit]) -> dict[str, dict[str, str]]:
        """Result of every unit; each must have exactly one FINISHED run and none that was left open."""
        found = {}
        for one in units:
            all_runs = self.runs_of(one)
            status = Counter(run.info.status for run in all_runs)
            assert status["FINISHED"] == 1, f"{one.title} has {dict(status)}"
            assert status["RUNNING"] == 0, f"{one.title} has {dict(status)}"
            finished = next(run for run in all_runs if run.info.status == "FINISHED")
            assert runs.is_readable(self.tracking.client, finished), one.title
            found[one.fingerprint] = self.result(finished)
        return found

    def metrics_are_complete(self, units: Sequence[Unit]) -> None:
        """Every epoch of every unit once, in order."""
        for one in units:
            finished = next(run for run in self.runs_of(one) if run.info.status == "FINISHED")
            for name in ("train_loss", "val_loss"):
                history = self.tracking.client.get_metric_history(finished.info.run_id, name)
                assert [m.step for m in history] == list(range(1, one.training.max_epochs + 1)), (one.title, name)

    def desks(self) -> list[str]:
        folder = self.home / "units"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


class Runner:
    """A runner in a process of its own: `runner.py` over the jobs, its events in a journal."""

    def __init__(
        self, jobs: Sequence[Job], folder: Path, workers: int = 1, standing_in: bool = True, tracking_uri: str = ""
    ) -> None:
        """`tracking_uri`: what the runner itself asks, when its workers ask through a proxy."""
        self.journal, self._log = folder / "journal.jsonl", folder / "log"
        given = {"tracking_uri": tracking_uri or jobs[0].tracking_uri, "jobs": [job.model_dump(mode="json") for job in jobs]}
        (folder / "jobs.json").write_text(json.dumps(given))
        command = [sys.executable, "-m", "tests.journeys.under_fire.runner", str(folder), str(workers)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "stand-in"] if standing_in else command, stdout=log, stderr=log, cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            )  # fmt: skip

    @property
    def over(self) -> bool:
        return self._process.poll() is not None

    def workers(self) -> list[int]:
        """Its worker processes."""
        with_parent = (line.split() for line in _processes())
        return [int(pid) for pid, parent in with_parent if int(parent) == self._process.pid]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self, seconds: float = 240) -> None:
        """Until it has ended well."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {seconds} s:\n{self.said()}") from None
        assert code == 0, self.said()

    def said(self) -> str:
        texts = [path.read_text() for path in (self._log, self.journal) if path.is_file()]
        return "\n".join(text[-4000:] for text in texts)

    def until(self, condition: Callable[[list[dict[str, Any]]], bool], seconds: float = 120) -> None:
        """Wait until the journal shows something."""
        give_up = time.monotonic() + seconds
        while not condition(events(self.journal)):
            if self.over or time.monotonic() > give_up:
                raise AssertionError(f"the runner ended, or {seconds} s are over:\n{self.said()}")
            time.sleep(0.05)


def _processes() -> Iterator[str]:
    """ "<pid> <parent's pid>" of every process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            yield f"{stat.parent.name} {stat.read_text().rpartition(')')[2].split()[1]}"
        except (FileNotFoundError, ProcessLookupError):
            continue


def events(journal: Path) -> list[dict[str, Any]]:
    """What a journal holds; a line cut by a kill is none."""
    found = []
    for line in journal.read_text().splitlines() if journal.is_file() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


@dataclass
class Tally:
    """Who did what in one or several journals."""

    journals: list[Path]
    all: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.all = [event for journal in self.journals for event in events(journal)]

    def count(self, kind: str) -> Counter[str]:
        """Events of a kind by unit."""
        return Counter(event["unit"] for event in self.all if event["event"] == kind)

    def epochs(self) -> Counter[str]:
        """Epochs begun to the end, by unit, with those that had to be done twice."""
        return self.count("epoch")


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that stands still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
