"""Prepared films on the disk: one uint8 array per cohort, memory-mapped.

films.u8         N × S × S uint8, one slot per row of the cohort
manifest.json    what became of each film, and what they were made with (`manifest`)
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.films.manifest import FILMS


@dataclass(frozen=True)
class FilmStore:
    """Prepared films of a cohort. `entries` by row id: {"slot", "digest", "verdict", "box", "coverage"} or {"slot", "error", "message"};
    both with {"source", "by"}: SHA-256 of the file's bytes, and the engine and precision of the U-Net (None: not recorded)."""

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


def open_pixels(folder: Path, size: int) -> np.memmap[tuple[int, ...], np.dtype[np.uint8]]:
    """All slots of the store in `folder`, memory-mapped, read only: (N, size, size) uint8."""
    return np.memmap(folder / FILMS, dtype=np.uint8, mode="r").reshape(-1, size, size)
