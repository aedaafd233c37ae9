"""What a unit has on this machine until MLflow has it: <home>/units/<fingerprint>/

    checkpoints/     the last finished epoch, to go on from
    epochs.jsonl     one line per finished epoch with its figures and the time it ended: what is sent is what stands here
    run              id of the unit's MLflow run, so that a second attempt goes on in the same run
    outcome/         files and figures of the finished training; it gets this name only when whole

So a tracking server may be away while units train, and a kill at any moment costs at most the epoch that was running.
"""

import json
import os
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from cxr import durable

MANIFEST = "manifest.json"
WEIGHTS, HISTORY = "weights.safetensors", "history.csv"  # of every outcome, unless the weights are not to be kept


@dataclass(frozen=True)
class Epoch:
    """A finished epoch: `at` in milliseconds since 1970, fixed once, because MLflow drops a metric that it has already only when
    step and time are equal."""

    epoch: int
    at: int
    figures: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """A finished training: `sizes` by file name in bytes, `figures` and `tags` as they go onto the run."""

    folder: Path
    figures: dict[str, float]
    sizes: dict[str, int]
    tags: dict[str, str]


class Desk:
    """One unit's folder. Two processes may hold the same one for a moment (a paused one wakes up): nothing here gets mixed then."""

    def __init__(self, home: Path, fingerprint: str) -> None:
        self.folder = home / "units" / fingerprint
        self.checkpoints = self.folder / "checkpoints"

    def open(self) -> None:
        self.checkpoints.mkdir(parents=True, exist_ok=True)

    @property
    def run_id(self) -> str | None:
        path = self.folder / "run"
        return path.read_text() if path.is_file() else None

    def remember_run(self, run_id: str) -> None:
        durable.write(self.folder / "run", run_id.encode())

    def spool(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Note a finished epoch; one that stands there already keeps its time (`epochs`), for it may have been sent."""
        line = json.dumps({"epoch": epoch, "at": int(time.time() * 1000), "figures": dict(figures)})
        with (self.folder / "epochs.jsonl").open("a") as file:
            file.write(f"\n{line}")  # the break first: a line cut by a kill must not swallow this one
            file.flush()
            os.fsync(file.fileno())

    def epochs(self) -> list[Epoch]:
        """Every finished epoch once, as it was first noted, in order; a line cut by a kill is no line."""
        path = self.folder / "epochs.jsonl"
        found: dict[int, Epoch] = {}
        for line in path.read_text().splitlines() if path.is_file() else []:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            found.setdefault(row["epoch"], Epoch(row["epoch"], row["at"], row["figures"]))
        return [found[epoch] for epoch in sorted(found)]

    def draft(self) -> Path:
        """An empty folder for this process to put the outcome's files into."""
        folder = self.folder / f"outcome.{os.getpid()}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def seal(self, draft: Path, figures: Mapping[str, float], tags: Mapping[str, str]) -> Outcome:
        """Give the draft its name. Who comes second finds an equal outcome there and drops its own."""
        sizes = {path.name: path.stat().st_size for path in sorted(draft.iterdir())}
        for name in sizes:
            durable.sync_file(draft / name)
        durable.write(draft / MANIFEST, json.dumps({"figures": dict(figures), "sizes": sizes, "tags": dict(tags)}).encode())
        try:
            draft.rename(self.folder / "outcome")
        except OSError:
            if self.outcome is None:
                raise
            shutil.rmtree(draft)
        durable.sync_folder(self.folder)
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        outcome = self.outcome
        assert outcome is not None
        return outcome

    @property
    def outcome(self) -> Outcome | None:
        folder = self.folder / "outcome"
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
        except FileNotFoundError:
            return None
        return Outcome(folder, manifest["figures"], manifest["sizes"], manifest["tags"])

    def clear(self) -> None:
        """Everything is in MLflow: drop the folder, under another name first so that no reader finds half of it."""
        gone = self.folder.with_name(f".{self.folder.name}.{os.getpid()}")
        try:
            self.folder.rename(gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone, ignore_errors=True)


def sweep(home: Path, finished: Collection[str]) -> None:
    """Clear the desks of finished units: a kill after FINISHED leaves one, and so does a paused process that wakes up too late."""
    for folder in (home / "units").glob("*"):
        if folder.name.startswith("."):
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.name in finished:
            Desk(home, folder.name).clear()
