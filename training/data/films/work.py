"""One film after another, in a process that does nothing else: bytes → pixels in their slot → entry."""

import hashlib
import os
import signal
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cxr.errors import FilmError
from cxr.graphs import Way
from cxr.log_privacy import withhold_texts
from cxr.pipeline import PipelineSpec, prepare
from cxr.reading import TRAINING
from cxr.segmentation import OnnxSegmenter
from training.data.films.manifest import FILMS, Entry
from training.memory import keep_freed_buffers
from training.parent import die_with_parent


class Task(NamedTuple):
    """One film to prepare. `known` is its entry from before: with an equal source it is good as it is."""

    row: str
    slot: int
    image: str
    known: Entry | None


class Preparer:
    """Prepares films into the store of `folder`, whose array is long enough already."""

    def __init__(self, folder: Path, spec: PipelineSpec, segmenter: Path) -> None:
        self._films, self._spec, self._graph = os.open(folder / FILMS, os.O_WRONLY), spec, segmenter
        self._way: Way | None = None

    def close(self) -> None:
        os.close(self._films)

    def prepare(self, task: Task, way: Way) -> Entry:
        """The film's entry; its pixels are in the file, though not on the disk."""
        path = Path(task.image)
        stat, data = path.stat(), path.read_bytes()
        now: Entry = {"bytes": stat.st_size, "modified": stat.st_mtime_ns, "source": hashlib.sha256(data).hexdigest()}
        if task.known is not None and task.known["source"] == now["source"]:
            return task.known | now
        entry: Entry = {"row": task.row, "slot": task.slot, **now, "by": str(way)}
        pixels = np.zeros((self._spec.size, self._spec.size), np.uint8)  # a file that is bad now may have been good before
        try:
            film = prepare(data, self._spec, self._segmenter(way), formats=TRAINING)
        except FilmError as error:
            entry |= {"error": error.code, "message": str(error)}
        else:
            pixels = film.pixels
            entry |= {"digest": film.digest, "verdict": str(film.verdict), "box": list(film.box)}
            entry |= {"coverage": round(film.coverage, 4)}
        self._write(pixels.tobytes(), task.slot)
        return entry

    def _segmenter(self, way: Way) -> OnnxSegmenter:
        if way != self._way:
            self._way, self._unet = way, OnnxSegmenter.from_file(self._graph, 1, *way)
        return self._unet

    def _write(self, pixels: bytes, slot: int) -> None:
        """Not through a mapping: a full disk would then be a signal, and every page a part of this process's memory."""
        at = slot * len(pixels)
        while pixels:
            written = os.pwrite(self._films, pixels, at)
            pixels, at = pixels[written:], at + written


_OWN: list[Preparer] = []  # of a worker process: filled when it starts


def start(folder: str, spec: PipelineSpec, segmenter: str) -> None:
    """What a preparing process does first."""
    attend()
    keep_freed_buffers()
    _OWN.append(Preparer(Path(folder), spec, Path(segmenter)))


def attend() -> None:
    """Ctrl-C reaches the parent too, which ends what has begun; when it is killed, so is this process. Readers warn without a text."""
    die_with_parent()
    withhold_texts()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def prepare_here(task: Task, way: Way) -> Entry:
    return _OWN[0].prepare(task, way)
