"""Every image prepared once: a memory-mapped uint8 array per cohort, beside a journal of what became of each file.

    films.u8          N × S × S uint8, one slot per row of the cohort in the order of row ids
    journal.jsonl     one line per finished film, appended after its pixels are in the array

The folder's name is made of the pipeline spec and the segmenter, so another spec or U-Net makes another store. A killed preparation
goes on at the films that have no line; a file whose size or time changed is prepared again. Failures are lines too:
they are counted and listed, and their films are left out of training; nothing stands in for them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cxr.errors import FilmError
from cxr.pipeline import PipelineSpec, prepare
from cxr.reading import TRAINING
from cxr.segmentation import OnnxSegmenter
from training.data.cohort import Cohort

Progress = Callable[[int, int], None]
FILMS, JOURNAL = "films.u8", "journal.jsonl"


@dataclass(frozen=True)
class FilmStore:
    """Prepared films of a cohort. `entries` by row id: {"slot", "digest", "verdict", "box", "coverage"} or {"slot", "error", "message"}."""

    folder: Path
    size: int
    entries: dict[str, dict[str, Any]]

    @property
    def usable(self) -> dict[str, dict[str, Any]]:
        return {row: entry for row, entry in self.entries.items() if "digest" in entry}

    @property
    def failures(self) -> dict[str, dict[str, Any]]:
        return {row: entry for row, entry in self.entries.items() if "error" in entry}

    def pixels(self) -> NDArray[np.uint8]:
        """All slots (N, S, S), memory-mapped, read only; slots of failures are zero and must not be used."""
        return open_pixels(self.folder, self.size)

    def verdicts(self) -> dict[str, int]:
        """Films by lung verdict or error code."""
        return dict(Counter(entry.get("verdict", entry.get("error")) for entry in self.entries.values()))


def open_pixels(folder: Path, size: int, mode: Literal["r", "r+"] = "r") -> np.memmap[tuple[int, ...], np.dtype[np.uint8]]:
    """All slots of the store in `folder`, memory-mapped: (N, size, size) uint8."""
    return np.memmap(folder / FILMS, dtype=np.uint8, mode=mode).reshape(-1, size, size)


def prepare_cohort(
    cohort: Cohort, root: Path, spec: PipelineSpec, segmenter: Path, workers: int, progress: Progress | None = None
) -> FilmStore:
    """Prepare what is not yet prepared and open the store. `segmenter` is the U-Net's ONNX file."""
    folder = _folder(cohort, root, spec, segmenter)
    folder.mkdir(parents=True, exist_ok=True)
    ids = [row.id for row in cohort.rows]
    done = _read_journal(folder / JOURNAL)
    # A slot belongs to a row for ever: new rows are appended, so that a cohort may grow without moving a film.
    slots = {row: entry["slot"] for row, entry in done.items()}
    free = max(slots.values(), default=-1) + 1
    slots |= {row: free + i for i, row in enumerate(row for row in ids if row not in slots)}
    _extend(folder / FILMS, (max(slots.values()) + 1) * spec.size * spec.size)
    todo = [(row.id, slots[row.id], str(row.image)) for row in cohort.rows if not _unchanged(done.get(row.id), row.image)]
    finished = len(ids) - len(todo)
    if todo:
        array = open_pixels(folder, spec.size, "r+")
        _finish_line(folder / JOURNAL)
        with (folder / JOURNAL).open("a") as journal:
            for entry, pixels in _prepared(todo, spec, segmenter, workers):
                array[entry["slot"]] = 0 if pixels is None else pixels  # a file that is bad now may have been good before
                array.flush()
                journal.write(json.dumps(entry) + "\n")
                journal.flush()
                done[entry["row"]] = entry
                finished += 1
                if progress:
                    progress(finished, len(ids))
    return FilmStore(folder, spec.size, {row: done[row] for row in ids})


def is_prepared(cohort: Cohort, root: Path, spec: PipelineSpec, segmenter: Path) -> bool:
    """Whether `prepare_cohort` would find every film prepared."""
    done = _read_journal(_folder(cohort, root, spec, segmenter) / JOURNAL)
    return all(_unchanged(done.get(row.id), row.image) for row in cohort.rows)


def _folder(cohort: Cohort, root: Path, spec: PipelineSpec, segmenter: Path) -> Path:
    graph_digest = hashlib.sha256(segmenter.read_bytes()).hexdigest()
    key = hashlib.sha256(f"{spec.digest()}{graph_digest}".encode()).hexdigest()[:12]
    return root / f"{cohort.name}-{spec.size}-{key}"


def _read_journal(path: Path) -> dict[str, dict[str, Any]]:
    """Later lines win; a last line cut by a kill is dropped."""
    entries = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        entries[entry["row"]] = entry
    return entries


def _finish_line(path: Path) -> None:
    """End a line cut by a kill, so that the next entry is not glued to it and lost with it."""
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        with path.open("a") as journal:
            journal.write("\n")


def _unchanged(entry: dict[str, Any] | None, image: Path) -> bool:
    stat = image.stat()
    return entry is not None and entry["bytes"] == stat.st_size and entry["modified"] == stat.st_mtime_ns


def _extend(path: Path, size: int) -> None:
    with path.open("ab") as file:
        if file.tell() < size:
            file.truncate(size)


def _prepared(
    todo: list[tuple[str, int, str]], spec: PipelineSpec, segmenter: Path, workers: int
) -> Iterator[tuple[dict[str, Any], NDArray[np.uint8] | None]]:
    """Journal entries with their pixels, in the order of `todo`, from a pool of processes with one thread each."""
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (spec.model_dump(), str(segmenter))) as pool:
        yield from pool.map(_prepare_one, todo, chunksize=4)


_WORKER: dict[str, Any] = {}


def _start_worker(spec: dict[str, Any], segmenter: str) -> None:
    _WORKER["spec"] = PipelineSpec(**spec)
    _WORKER["segmenter"] = OnnxSegmenter.from_file(Path(segmenter), threads=1)


def _prepare_one(item: tuple[str, int, str]) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
    row, slot, image = item
    path = Path(image)
    stat = path.stat()
    entry: dict[str, Any] = {"row": row, "slot": slot, "bytes": stat.st_size, "modified": stat.st_mtime_ns}
    try:
        film = prepare(path.read_bytes(), _WORKER["spec"], _WORKER["segmenter"], formats=TRAINING)
    except FilmError as error:
        return entry | {"error": error.code, "message": str(error)}, None
    found = {"digest": film.digest, "verdict": str(film.verdict), "box": list(film.box), "coverage": round(film.coverage, 4)}
    return entry | found, film.pixels
