"""A tiny cohort on the disk, and what its store must hold."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.serving.tiny_bundle import encoded, film
from training.data.cohort import Cohort, Row
from training.data.films import FilmStore
from training.data.films.manifest import Entry
from training.data.films.unet import Way
from training.data.films.work import Preparer, Task

BAD = {"c": encoded(film(lungs=0)), "e": b"no film at all"}


def tiny_cohort(folder: Path) -> Cohort:
    """Six films, c without lungs and e no picture."""
    return _cohort("tiny", folder, {name: BAD.get(name, encoded(film(seed=seed))) for seed, name in enumerate("abcdef")})


def small_cohort(folder: Path, count: int) -> Cohort:
    """Good films, each another one; those that are there already keep their times."""
    return _cohort("small", folder, {f"{seed:03}": encoded(film(seed=seed)) for seed in range(count)})


def _cohort(name: str, folder: Path, films: Mapping[str, bytes]) -> Cohort:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed, (row, content) in enumerate(films.items()):
        image = folder / f"{row}.png"
        if not image.exists():
            image.write_bytes(content)
        rows.append(Row(row, image, f"p{row}", "A", {"prognosis": seed % 2}))
    return Cohort(name, tuple(rows))


def handed_out(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The rows that are taken in hand in this process from now on, in order."""
    rows: list[str] = []
    real = Preparer.prepare

    def told(preparer: Preparer, task: Task, way: Way) -> Entry:
        rows.append(task.row)
        return real(preparer, task, way)

    monkeypatch.setattr(Preparer, "prepare", told)
    return rows


def of_each(store: FilmStore) -> dict[str, bytes]:
    """The stored pixels of every usable row; they must be what its digest says."""
    pixels = store.pixels()
    assert len({entry["slot"] for entry in store.entries.values()}) == len(store.entries)
    for entry in store.usable.values():
        assert entry["digest"] == hashlib.sha256(pixels[entry["slot"]].tobytes()).hexdigest()
    return {row: pixels[entry["slot"]].tobytes() for row, entry in store.usable.items()}
