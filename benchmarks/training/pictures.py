"""Films as each contender keeps them: 1024 px PNG with a lung mask, 256 px JPEG, one memory-mapped array. All are made up."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.rows import FilmRows
from training.data.samples import Samples, assemble

TASKS = ("prognosis", "severity")


def make(folder: Path, films: int, size: int) -> None:
    """`films` pictures as <i>.png, <i>-mask.png, <i>.jpg, and all of them in films.u8 at `size` px."""
    random = np.random.default_rng(0)
    store = np.memmap(folder / f"films-{size}.u8", np.uint8, "w+", shape=(films, size, size))
    for i in range(films):
        full = film(random, 1024)
        store[i] = cv2.resize(full, (size, size), interpolation=cv2.INTER_AREA)
        if not (folder / f"{i}.png").exists():
            cv2.imwrite(str(folder / f"{i}.png"), full)
            cv2.imwrite(str(folder / f"{i}-mask.png"), lungs(1024))
            cv2.imwrite(str(folder / f"{i}.jpg"), cv2.resize(full, (256, 256)), [cv2.IMWRITE_JPEG_QUALITY, 90])
    store.flush()


def film(random: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """Coarse structure with fine noise, so that it compresses about as a film does."""
    coarse = cv2.resize(random.uniform(40, 210, (12, 12)), (side, side), interpolation=cv2.INTER_CUBIC)
    return (coarse + random.normal(0, 4, (side, side))).clip(0, 255).astype(np.uint8)


def lungs(side: int) -> NDArray[np.uint8]:
    mask = np.zeros((side, side), np.uint8)
    for x in (0.32, 0.68):
        cv2.ellipse(mask, (int(x * side), side // 2), (int(0.14 * side), int(0.3 * side)), 0, 0, 360, 255, -1)
    return mask


def label_of(film: int) -> dict[str, int]:
    """Even films know the prognosis, odd ones the severity."""
    return {"severity": film % 4} if film % 2 else {"prognosis": film // 2 % 2}


def labels_of(films: int) -> list[dict[str, int]]:
    return [label_of(i) for i in range(films)]


def larger_than_the_cache(folder: Path, size: int) -> NDArray[np.uint8]:
    """A mapped store of the same pictures over and over, (N, size, size), twice as large as this processor's largest cache."""
    store = np.memmap(folder / f"films-{size}.u8", np.uint8, "r").reshape(-1, size, size)
    times, file = -(-2 * largest_cache() // store.nbytes), folder / f"many-{size}.u8"
    with file.open("wb") as many:
        for _ in range(times):
            store.tofile(many)
    return np.memmap(file, np.uint8, "r").reshape(-1, size, size)


def largest_cache() -> int:
    """Bytes; 64 MiB where the kernel does not tell."""
    told = [path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max((int(size[:-1]) << {"K": 10, "M": 20}[size[-1]] for size in told if size[-1] in "KM"), default=64 << 20)


def samples(folder: Path, films: int, size: int) -> Samples:
    """`films` rows of the mapped store, which are those of other rows again when it has fewer."""
    store = np.memmap(folder / f"films-{size}.u8", np.uint8, "r").reshape(-1, size, size)
    rows = FilmRows([store], np.zeros(films, np.int64), np.arange(films) % len(store))
    return assemble(rows, [str(i) for i in range(films)], labels_of(films), TASKS)
