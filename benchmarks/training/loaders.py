"""The data paths of others, written anew from their description: a Dataset each, batched by torch's DataLoader."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional as pil
from torchvision.transforms import v2

from benchmarks.training.pictures import label_of

DEGREES, SHIFT, ZOOM = 10.0, 0.1, (0.9, 1.1)


class Style(Dataset[tuple[Tensor, Tensor]]):
    """The first `films` pictures of a folder, at `size` px."""

    def __init__(self, folder: Path, films: int, size: int) -> None:
        self.folder, self.films, self.size = folder, films, size

    def __len__(self) -> int:
        return self.films


class AuthorsStyle(Style):
    """Decode the 1024 px film and its mask, find the lungs with np.where, crop, resize, vary with PIL: anew for every film and epoch."""

    vary = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomAffine(DEGREES, (SHIFT, SHIFT), ZOOM), v2.ColorJitter(0.1, 0.2)])

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        film = np.asarray(Image.open(self.folder / f"{i}.png").convert("L"))
        mask = np.asarray(Image.open(self.folder / f"{i}-mask.png").convert("L"))
        ys, xs = np.where(mask > 0)
        cut = film[ys.min() : ys.max(), xs.min() : xs.max()]
        image = Image.fromarray(cut).resize((self.size, self.size), Image.Resampling.BILINEAR).convert("RGB")
        return pil.to_tensor(self.vary(image)), _label(i)


class JpegStyle(Style):
    """256 px JPEG files and torchvision.transforms.v2."""

    def __init__(self, folder: Path, films: int, size: int) -> None:
        super().__init__(folder, films, size)
        self.vary = _on_tensors(v2.PILToTensor(), v2.Resize((size, size), antialias=True))

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        film: Tensor = self.vary(Image.open(self.folder / f"{i}.jpg").convert("L"))
        return film.expand(3, -1, -1), _label(i)


class MappedStyle(Style):
    """Rows of a memory-mapped uint8 array and torchvision.transforms.v2, film by film."""

    def __init__(self, folder: Path, films: int, size: int) -> None:
        super().__init__(folder, films, size)
        self.vary = _on_tensors()
        self.store: NDArray[np.uint8] = np.memmap(folder / f"films-{size}.u8", np.uint8, "r").reshape(-1, size, size)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        film: Tensor = self.vary(torch.from_numpy(np.array(self.store[i % len(self.store)]))[None])
        return film.expand(3, -1, -1), _label(i)


def _on_tensors(*first: v2.Transform) -> v2.Compose:
    affine = v2.RandomAffine(DEGREES, (SHIFT, SHIFT), ZOOM, interpolation=v2.InterpolationMode.BILINEAR)
    return v2.Compose(
        [*first, v2.RandomHorizontalFlip(), affine, v2.ColorJitter(0.1, 0.2), v2.ToDtype(torch.float32, scale=True)]
    )


STYLES: dict[str, type[Style]] = {
    "authors' style": AuthorsStyle, "JPEG + transforms.v2": JpegStyle, "memmap + transforms.v2": MappedStyle,
}  # fmt: skip


def endless(style: str, folder: Path, films: int, size: int, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches without end: films (B, 3, S, S) float32 in 0..1, labels (B, 2), −1 where unknown."""
    loader = DataLoader(STYLES[style](folder, films, size), batch, shuffle=True, drop_last=True)
    while True:
        yield from loader


def _label(i: int) -> Tensor:
    row = label_of(i)
    return torch.tensor([row.get("prognosis", -1), row.get("severity", -1)])
