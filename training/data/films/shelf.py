"""The stores that lie in a folder: what each holds, and dropping one."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from cxr.pipeline import PipelineSpec
from training.data.films.manifest import FILMS, JOURNAL, MANIFEST, StoreDamaged, read_entries, read_header


class StoreInUse(RuntimeError):
    """Films are being prepared into a store that was to be dropped."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"film store {folder.name} is being prepared at this moment: try again when that is over")


@dataclass(frozen=True)
class Shelved:
    """One store. `size` of its films in pixels; `taken` bytes on the disk; `ways`: engine and precision of the U-Net, those that were
    recorded; `spec` is None where it was not recorded either; `damage` says why it cannot be read."""

    folder: Path
    cohort: str
    size: int
    films: int
    failures: int
    taken: int
    ways: tuple[str, ...]
    spec: PipelineSpec | None
    damage: str = ""

    @property
    def name(self) -> str:
        return self.folder.name


def shelved(root: Path) -> list[Shelved]:
    """Every store in `root`, by name."""
    return [_look(path) for path in sorted(root.iterdir()) if _is_store(path)] if root.is_dir() else []


def _is_store(path: Path) -> bool:
    return path.is_dir() and path.name.count("-") >= 2 and path.name.rsplit("-", 2)[1].isdigit()


def _look(folder: Path) -> Shelved:
    cohort, size, _ = folder.name.rsplit("-", 2)
    taken = sum(file.stat().st_blocks * 512 for file in folder.iterdir())
    try:
        entries, header = read_entries(folder), read_header(folder)
    except StoreDamaged as error:
        return Shelved(folder, cohort, int(size), 0, 0, taken, (), None, str(error))
    ways = sorted({entry["by"] for entry in entries.values()} - {None})
    failures = sum("error" in entry for entry in entries.values())
    spec = PipelineSpec(**header["spec"]) if "spec" in header else None
    return Shelved(folder, cohort, int(size), len(entries), failures, taken, tuple(ways), spec)


def lock(root: Path, cohort: str) -> FileLock:
    """Held by whoever prepares films of a cohort, or drops a store of it."""
    return FileLock(root / f"{cohort}.lock")


def drop(store: Shelved) -> None:
    """Remove a store. Raises StoreInUse."""
    try:
        with lock(store.folder.parent, store.cohort).acquire(timeout=0):
            # What speaks of pixels first: cut off half-way, no film is missing from what is left.
            for name in (MANIFEST, JOURNAL, FILMS):
                (store.folder / name).unlink(missing_ok=True)
            shutil.rmtree(store.folder)
    except Timeout:
        raise StoreInUse(store.folder) from None
