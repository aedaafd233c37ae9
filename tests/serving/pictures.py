"""`python -m tests.serving.pictures BUNDLE FILM`: the web page in two widths and with a refusal, and the overlay that `Accept: image/png`
answers, as docs/images show them. Phantoms only."""

import io
import sys
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

from serving.client import wait_until_ready
from serving.server import running
from serving.settings import Settings
from tests.serving.browser import Page, chromium
from tests.serving.tiny_bundle import loader

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDTHS = {"page.png": 1100, "page-phone.png": 390}


def main(bundle: Path, film: Path) -> None:
    """Answer the film (PNG) with the bundle in a folder, refuse its negative, and store what a person sees."""
    with running(Settings(), loader(bundle, "1")) as url, chromium() as page, tempfile.TemporaryDirectory() as folder:
        wait_until_ready(url)
        for name, width in WIDTHS.items():
            page.open(f"{url}/", width)
            page.choose("#choose", film.resolve())  # the browser has another working folder
            page.wait("document.querySelector('#answer').checkVisibility() && document.querySelector('#film').naturalWidth > 0")
            store(page, name)
        negative = Path(folder) / "inverted.png"
        seen = np.asarray(Image.open(film))
        Image.fromarray(np.iinfo(seen.dtype).max - seen).save(negative)  # of 16 bits, which Pillow's own inversion is not for
        page.open(f"{url}/?refusal", WIDTHS["page.png"], height=420)
        page.choose("#choose", negative)
        page.wait("!document.querySelector('#problem').hidden")
        store(page, "page-refusal.png")
        asked = urllib.request.Request(f"{url}/predict", film.read_bytes(), {"Accept": "image/png", "Content-Type": "image/png"})
        with urllib.request.urlopen(asked) as answer:
            overlay = Image.open(io.BytesIO(answer.read()))
        overlay.save(IMAGES / "overlay.png", optimize=True)


def store(page: Page, name: str) -> None:
    """What is to be seen, without the mark of what a key would reach; in the colours that a page of text needs, 256."""
    page.evaluate("document.activeElement.blur()")
    seen = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    seen.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
