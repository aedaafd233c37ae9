"""Every image prepared once (`preparing`), kept in stores (`store`, `manifest`) that can be listed and dropped (`shelf`)."""

from training.data.films.manifest import FILMS, JOURNAL, MANIFEST, StoreDamaged
from training.data.films.preparing import PreparationDied, is_prepared, prepare_cohort
from training.data.films.store import FilmStore, open_pixels

__all__ = [
    "FILMS", "JOURNAL", "MANIFEST", "FilmStore", "PreparationDied", "StoreDamaged", "is_prepared", "open_pixels", "prepare_cohort",
]  # fmt: skip
