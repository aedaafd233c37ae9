"""A tiny cohort on the disk, and what its store must hold."""

import hashlib
from pathlib import Path

from tests.serving.tiny_bundle import encoded, film
from training.data.cohort import Cohort, Row
from training.data.films import FilmStore

BAD = {"c": encoded(film(lungs=0)), "e": b"no film at all"}


def tiny_cohort(folder: Path) -> Cohort:
    """Six films, c without lungs and e no picture."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed, name in enumerate("abcdef"):
        image = folder / f"{name}.png"
        image.write_bytes(BAD.get(name, encoded(film(seed=seed))))
        rows.append(Row(name, image, f"p{name}", "A", {"prognosis": seed % 2}))
    return Cohort("tiny", tuple(rows))


def small_cohort(folder: Path, count: int) -> Cohort:
    """Good films, each another one."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(count):
        image = folder / f"{seed:03}.png"
        image.write_bytes(encoded(film(seed=seed)))
        rows.append(Row(f"{seed:03}", image, f"p{seed}", "A", {"prognosis": seed % 2}))
    return Cohort("small", tuple(rows))


def of_each(store: FilmStore) -> dict[str, bytes]:
    """The stored pixels of every usable row; they must be what its digest says."""
    pixels = store.pixels()
    assert len({entry["slot"] for entry in store.entries.values()}) == len(store.entries)
    for entry in store.usable.values():
        assert entry["digest"] == hashlib.sha256(pixels[entry["slot"]].tobytes()).hexdigest()
    return {row: pixels[entry["slot"]].tobytes() for row, entry in store.usable.items()}
