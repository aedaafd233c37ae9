"""Many films and their lung masks on one PNG: the quickest way to see where a segmentation goes wrong."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

_FOUND, _TRUTH = (255, 170, 0), (0, 200, 255)  # told apart by the colour-blind too
_CAPTION = 14  # pixels of one line of Pillow's built-in font


@dataclass(frozen=True)
class Panel:
    """One film of the sheet: `gray` uint8 (H, W), `lungs` bool or probability in 0..1, `truth` bool or none. Any sizes."""

    gray: NDArray[np.uint8]
    lungs: NDArray[np.bool_] | NDArray[np.float32]
    truth: NDArray[np.bool_] | None = None
    caption: str = ""


def contact_sheet(panels: Sequence[Panel], path: Path | BytesIO, columns: int = 6, side: int = 224) -> None:
    """Write a PNG grid of `columns` films, each within `side`×`side` pixels: found lungs outlined orange, drawn ones blue.

    Probabilities are outlined at 0.5. ValueError without panels or columns.
    """
    if not panels or columns < 1:
        raise ValueError(f"found {len(panels)} panels in {columns} columns; at least one of each is needed")
    rows = math.ceil(len(panels) / columns)
    sheet = Image.new("RGB", (columns * side, rows * (side + _CAPTION)))
    pen = ImageDraw.Draw(sheet)
    for i, panel in enumerate(panels):
        left, top = i % columns * side, i // columns * (side + _CAPTION)
        tile = _tile(panel, side)
        sheet.paste(tile, (left + (side - tile.width) // 2, top + _CAPTION + (side - tile.height) // 2))
        pen.text((left + 2, top + 1), panel.caption[: side // 6], fill="white")  # about six pixels a letter
    sheet.save(path, format="PNG")


def _tile(panel: Panel, side: int) -> Image.Image:
    height, width = panel.gray.shape
    scale = side / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = np.stack([np.asarray(Image.fromarray(panel.gray).resize(shape, Image.Resampling.BILINEAR))] * 3, axis=-1)
    masks = ((panel.truth, _TRUTH), (panel.lungs, _FOUND))  # what was found is drawn last: it is what is judged
    for mask, colour in masks:
        if mask is not None:
            picture[_outline(mask, shape)] = colour
    return Image.fromarray(picture)


def _outline(mask: NDArray[np.bool_] | NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.bool_]:
    inside = np.asarray(Image.fromarray(mask.astype(np.float32)).resize(shape, Image.Resampling.BILINEAR)) >= 0.5
    edge: NDArray[np.bool_] = inside & ~ndimage.binary_erosion(inside)
    return edge
