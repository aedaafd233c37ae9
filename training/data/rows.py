"""Rows of film stores where they lie: mapped pages, which all processes of a host share, and no copy."""

import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

SHARE = 0.5  # of this host's memory: a larger split is streamed from disk

Stores = Sequence[NDArray[np.uint8]]


class FilmRows:
    """N films (S, S) uint8: film i is slot `slots[i]` of store `stores[owners[i]]`, each (slots, S, S) and usually mapped.

    Indexed by one number it gives a view, by a slice or an array of numbers a copy (B, S, S). Sent to another process, mapped stores
    go as the name of their file: they are mapped there, not copied.
    """

    def __init__(self, stores: Stores, owners: NDArray[np.integer], slots: NDArray[np.integer]) -> None:
        self.stores, self.owners, self.slots = tuple(stores), np.asarray(owners), np.asarray(slots)
        self.shape = (len(self.slots), *self.stores[0].shape[1:])

    def __len__(self) -> int:
        return len(self.slots)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, rows: slice | NDArray[np.integer]) -> NDArray[np.uint8]: ...
    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        if isinstance(rows, int | np.integer):
            return np.asarray(self.stores[self.owners[rows]][self.slots[rows]])
        owners, slots = self.owners[rows], self.slots[rows]
        films = np.empty((len(slots), *self.shape[1:]), np.uint8)
        for i, (owner, slot) in enumerate(zip(owners, slots, strict=True)):
            films[i] = self.stores[owner][slot]
        return films

    def advise(self, resident: bool) -> None:
        """Tell the kernel how the mapped stores are read: kept in memory from now on, or film by film without reading ahead."""
        for store in self.stores:
            if isinstance(store, np.memmap) and (mapped := _mapping(store)) is not None:
                mapped.madvise(mmap.MADV_WILLNEED if resident else mmap.MADV_RANDOM)

    def __getstate__(self) -> dict[str, Any]:
        return {"stores": [_sent(store) for store in self.stores], "owners": self.owners, "slots": self.slots}

    def __setstate__(self, state: dict[str, Any]) -> None:
        stores = [s if isinstance(s, np.ndarray) else np.memmap(s[0], np.uint8, "r").reshape(s[1]) for s in state["stores"]]
        self.__init__(stores, state["owners"], state["slots"])  # type: ignore[misc]


def fits_in_memory(size: int) -> bool:
    """Whether so many bytes are at most `SHARE` of this host's memory, or of what its container may use."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        path = Path(place)
        if path.is_file() and (text := path.read_text().strip()).isdigit():
            limits.append(int(text))
    return size <= SHARE * min(limits)


def _mapping(store: NDArray[np.uint8]) -> mmap.mmap | None:
    base: Any = store
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def _sent(store: NDArray[np.uint8]) -> Any:
    whole = isinstance(store, np.memmap) and store.filename is not None and store.offset == 0
    if whole and Path(store.filename).stat().st_size == store.nbytes:  # type: ignore[attr-defined, arg-type]
        return str(store.filename), store.shape  # type: ignore[attr-defined]
    return np.asarray(store)
