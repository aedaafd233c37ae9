"""A contact sheet: phantom films side by side, some with the true lung mask and the borders of the Brixia zones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.data.cohorts.phantom.acquisition import Exposure, expose
from training.data.cohorts.phantom.plan import FilmPlan, held_out_films
from training.data.cohorts.phantom.spec import PhantomSpec

_TILE = 400
_CANDIDATES = 120
_OUTLINE, _BORDER = (255, 190, 60), (110, 200, 255)


def contact_sheet(spec: PhantomSpec, path: Path, columns: int = 4, rows: int = 3) -> None:
    """Writes a PNG of columns × rows films from the mildest to the severest, every second one with outline and zone borders."""
    planned = sorted(held_out_films(spec.model_copy(update={"held_out_films": _CANDIDATES})), key=lambda film: film.global_score)
    chosen = [planned[i] for i in np.linspace(0, len(planned) - 1, columns * rows).round().astype(int)]
    sheet = Image.new("RGB", (columns * _TILE, rows * _TILE), (18, 18, 18))
    for i, film in enumerate(chosen):
        tile = render_example(film, outlined=i % 2 == 1)
        tile.thumbnail((_TILE - 8, _TILE - 8))
        corner = (i % columns * _TILE + (_TILE - tile.width) // 2, i // columns * _TILE + (_TILE - tile.height) // 2)
        sheet.paste(tile, corner)
    sheet.save(path)


def render_example(film: FilmPlan, outlined: bool = False) -> Image.Image:
    """One planned film as an RGB picture with its scores written on it, `outlined` with lung mask and zone borders."""
    exposure = expose(film)
    picture = Image.fromarray((exposure.picture * 255).astype(np.uint8)).convert("RGB")
    pen = ImageDraw.Draw(picture)
    if outlined:
        _outline(pen, exposure)
    size = max(14, picture.width // 26)
    place, font = (size / 2, picture.height - 1.6 * size), ImageFont.load_default(size)
    pen.text(place, _digits(film.scores), fill=(255, 255, 255), font=font, stroke_width=2, stroke_fill=(0, 0, 0))
    return picture


def _digits(scores: Sequence[int]) -> str:
    return f"{''.join(map(str, scores[:3]))} | {''.join(map(str, scores[3:]))}   G {sum(scores)}"


def _outline(pen: ImageDraw.ImageDraw, exposure: Exposure) -> None:
    width = max(2, exposure.view.columns // 250)
    for side in (-1, 1):
        lung = exposure.anatomy.lung(side)
        lines = [(np.vstack([lung, lung[:1]]), _OUTLINE)]
        for y in exposure.anatomy.zone_borders(side)[1:3]:
            near = lung[np.abs(lung[:, 1] - y) < 0.03, 0]
            lines.append((np.array([(near.min(), y), (near.max(), y)]), _BORDER))
        for points, colour in lines:
            pen.line([(x, y) for x, y in exposure.view.to_pixels(points).tolist()], fill=colour, width=width)
