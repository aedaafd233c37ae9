"""The answer as a picture: the film as sent, where the lungs were found, where each answer was seen, and the answer in words."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxr.bundle import Bundle
from cxr.evidence import LABEL, WORSE, asked_of, over_film, questions, speaking_for
from cxr.pipeline import Film
from cxr.prediction import Prediction
from cxr.tasks import Task
from serving.answers import NOTICE
from serving.errors import ProblemError

HEAT = np.array([255, 96, 0], dtype=np.float32)  # seen by the colour-blind too, and nowhere on a gray film
LUNGS, BOX = (64, 220, 255), (255, 220, 64)
OPACITY = 0.5
SAYS = {LABEL: "what speaks for the answer", WORSE: "what speaks for a worse class"}


def shown(bundle: Bundle, name: str | None, question: str | None) -> tuple[Task, str]:
    """What is drawn: by default of the first task what speaks for a worse class, or for the label where classes have no order.

    Raises ProblemError `invalid-request` for a task that is not answered or a question that it does not have.
    """
    task = next((task for task in bundle.tasks if name in (None, task.name)), None)
    if task is None:
        raise ProblemError("invalid-request", f"`task` can be {', '.join(task.name for task in bundle.tasks)}.")
    known = asked_of(task)
    if question not in (None, *known):
        raise ProblemError("invalid-request", f"`evidence` of {task.name} can be {', '.join(known)}.")
    return task, question or known[-1]


def draw(prediction: Prediction, bundle: Bundle, task: Task, question: str, opacity: float) -> bytes:
    """An answered and explained film → PNG with the evidence on `question` ("worse" or "label") of `task`."""
    lines = [_said(one, prediction) for one in bundle.tasks]
    if opacity > 0:
        lines.append(f"heat: {task.name}, {SAYS[question]}")
    given = prediction.answers[task.name]
    how = questions(task, given.index, given.probabilities)[question]
    return overlay(prediction.film, speaking_for(prediction.evidence[task.name], how), lines, opacity)


def _said(task: Task, prediction: Prediction) -> str:
    given = prediction.answers[task.name]
    return f"{task.name}: {given.label} ({given.probabilities[given.index]:.0%})"


def overlay(film: Film, evidence: NDArray[np.float32], lines: Sequence[str], opacity: float) -> bytes:
    """PNG of the film's own size: the film, heat of the evidence (h, w) at `opacity` 0..1, outline, box, and `lines` of text.

    The notice is burned in: the picture may travel without its answer.
    """
    alpha = (over_film(evidence, film.box, film.shape) * np.float32(opacity))[..., None]
    sheet = Image.fromarray((film.gray[..., None] * (1 - alpha) + HEAT * alpha).astype(np.uint8))
    stroke = max(2, round(max(film.shape) / 400))
    sheet.paste(LUNGS, mask=Image.fromarray(_outline(film, stroke)))
    draw = ImageDraw.Draw(sheet)
    left, top, right, bottom = film.box
    draw.rectangle((left, top, right - 1, bottom - 1), outline=BOX, width=stroke)
    _write(draw, sheet.size, [*lines, NOTICE])
    out = io.BytesIO()
    sheet.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _outline(film: Film, stroke: int) -> NDArray[np.bool_]:
    """The border of the lungs on the film (H, W), about `stroke` pixels wide."""
    height, width = film.shape
    smooth = Image.fromarray(film.lungs.astype(np.uint8) * np.uint8(255)).resize((width, height), Image.Resampling.BILINEAR)
    lungs = np.asarray(smooth) >= 128
    from scipy import ndimage  # as `cxr.segmentation` does

    border: NDArray[np.bool_] = lungs & ~ndimage.binary_erosion(lungs, iterations=stroke, border_value=1)
    return border


def _write(draw: ImageDraw.ImageDraw, size: tuple[int, int], lines: Sequence[str]) -> None:
    """White on black at the top left, so that it is read on any film; smaller until the longest line fits."""
    longest = max(lines, key=len)
    points = max(10, round(size[0] / 40))
    while points > 6 and draw.textlength(longest, ImageFont.load_default(points)) > size[0] - 2 * points:
        points -= 1
    font, text = ImageFont.load_default(points), "\n".join(lines)
    at = (points, points)
    left, top, right, bottom = draw.multiline_textbbox(at, text, font)
    draw.rectangle((left - points // 2, top - points // 2, right + points // 2, bottom + points // 2), fill=(0, 0, 0))
    draw.multiline_text(at, text, (255, 255, 255), font)
