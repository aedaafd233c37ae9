"""Every image prepared once: what is already there is found, the rest is spread over processes with one thread each.

The store's folder is named after the pipeline spec and the segmenter, so another spec or U-Net makes another store. A killed
preparation goes on at the films that have no entry on the disk. A file of the same size and time is taken to be the same; where only
these differ, the digest of its bytes decides. Failures are entries too: they are counted and listed, and their films are left out of
training; nothing stands in for them.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

from cxr.pipeline import PipelineSpec
from training.data.cohort import Cohort
from training.data.films import unet, work
from training.data.films.manifest import JOURNAL, Entry, Ledger, read_entries
from training.data.films.store import FilmStore
from training.data.films.work import Preparer, Task

Progress = Callable[[int, int], None]
FEW = 16  # films that are prepared in this process: starting others takes a second
WORTH = 2 * unet.SAMPLE  # films from which on engines are compared
AHEAD = 4  # films per process that are handed out before any is back


class PreparationDied(RuntimeError):
    """A process that prepares films was killed or crashed."""

    def __init__(self, rows: Sequence[str]) -> None:
        super().__init__(
            f"a process that prepared films was killed or crashed with one of these in hand: {', '.join(sorted(rows))}. What is ready "
            "is kept: the same command goes on; with less memory per process (--workers) if it was killed, without the film if it crashes"
        )


def prepare_cohort(
    cohort: Cohort, root: Path, spec: PipelineSpec, segmenter: Path, workers: int, progress: Progress | None = None
) -> FilmStore:
    """Prepare what is not yet prepared and open the store. `segmenter` is the U-Net's ONNX file.

    Raises PreparationDied, StoreDamaged, OSError (a file that cannot be read, a full disk). All that was ready before is kept.
    """
    graph = graph_digest(segmenter)
    folder = store_folder(root, cohort.name, spec, graph)
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder, spec.size**2)
    tasks = _unprepared(cohort, ledger)
    if tasks:
        found = len(cohort.rows) - len(tasks)
        with ledger, closing(_prepared(tasks, folder, spec, segmenter, graph, workers)) as entries:
            for finished, entry in enumerate(entries, found + 1):
                ledger.add(entry)
                if progress:
                    progress(finished, len(cohort.rows))
    if (folder / JOURNAL).exists():
        measured = unet.known(root, graph, spec) or []
        made = {"cohort": cohort.name, "size": spec.size, "spec": spec.model_dump(), "segmenter": graph}
        ledger.fold(made | {"engines": [one._asdict() | {"way": str(one.way)} for one in measured]})
    return FilmStore(folder, spec.size, {row.id: ledger.entries[row.id] for row in cohort.rows})


def is_prepared(cohort: Cohort, root: Path, spec: PipelineSpec, segmenter: Path) -> bool:
    """Whether `prepare_cohort` would find every film prepared."""
    done = read_entries(store_folder(root, cohort.name, spec, graph_digest(segmenter)))
    return all(_unchanged(done.get(row.id), row.image) for row in cohort.rows)


def graph_digest(segmenter: Path) -> str:
    return hashlib.sha256(segmenter.read_bytes()).hexdigest()


def store_folder(root: Path, cohort: str, spec: PipelineSpec, graph: str) -> Path:
    """Where the films of a cohort are, or would be. `graph` is the digest of the U-Net's file."""
    key = hashlib.sha256(f"{spec.digest()}{graph}".encode()).hexdigest()[:12]
    return root / f"{cohort}-{spec.size}-{key}"


def _unprepared(cohort: Cohort, ledger: Ledger) -> list[Task]:
    rows = [row for row in cohort.rows if not _unchanged(ledger.entries.get(row.id), row.image)]
    slots = ledger.slots(row.id for row in rows)
    return [Task(row.id, slots[row.id], str(row.image), ledger.entries.get(row.id)) for row in rows]


def _unchanged(entry: Entry | None, image: Path) -> bool:
    stat = os.stat(image)  # noqa: PTH116 - a third of the time, and a store of thousands asks for each
    return entry is not None and entry["bytes"] == stat.st_size and entry["modified"] == stat.st_mtime_ns


def _prepared(
    tasks: Sequence[Task], folder: Path, spec: PipelineSpec, segmenter: Path, graph: str, workers: int
) -> Iterator[Entry]:
    """Entries as they come. `graph` is the digest of `segmenter`."""
    trial = _Trial(folder.parent, graph, spec)
    if len(tasks) <= FEW:
        with closing(Preparer(folder, spec, segmenter)) as here:
            yield from (here.prepare(task, trial.way) for task in tasks)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), work.start, (str(folder), spec, str(segmenter)))
    handed: dict[Future[Entry], Task] = {}
    try:
        if len(tasks) >= WORTH:
            trial.begin(segmenter, [task.image for task in tasks[: unet.SAMPLE]])
        for task in tasks:
            handed[pool.submit(work.prepare_here, task, trial.look())] = task
            if len(handed) == AHEAD * workers:
                yield from _back(handed)
        while handed:
            yield from _back(handed)
        trial.end()
    except BrokenProcessPool as error:
        raise PreparationDied([task.row for task in handed.values()]) from error
    finally:
        pool.shutdown(cancel_futures=True)
        trial.drop()


class _Trial:
    """The way to compute the U-Net: the one that was found before, or REFERENCE until a process beside the others has found one.

    A process of its own, so that only one ever loads engines that are not used, and none keeps them.
    """

    def __init__(self, root: Path, graph: str, spec: PipelineSpec) -> None:
        self._where = root, graph, spec
        self._known = unet.known(*self._where)
        self.way = unet.fastest(self._known or ())
        self._pool: ProcessPoolExecutor | None = None

    def begin(self, segmenter: Path, images: Sequence[str]) -> None:
        """Unless it is known."""
        if self._known is None:
            self._pool = ProcessPoolExecutor(1, get_context("spawn"), work.attend)
            self._future = self._pool.submit(unet.measure, segmenter, self._where[2], [Path(image) for image in images])

    def look(self) -> unet.Way:
        """The way for the next film."""
        if self._pool is not None and self._future.done():
            self.end()
        return self.way

    def end(self) -> None:
        """What is found is kept; a measurement that still runs is waited for, seconds at most."""
        if self._pool is not None:
            measured = self._future.result()
            unet.remember(*self._where, measured)
            self.way = unet.fastest(measured)
            self.drop()

    def drop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _back(handed: dict[Future[Entry], Task]) -> Iterator[Entry]:
    """Those that are ready, at least one; each leaves `handed` when its entry is out."""
    for future in wait(handed, return_when=FIRST_COMPLETED).done:
        entry = future.result()
        del handed[future]
        yield entry
