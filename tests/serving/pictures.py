"""`python -m tests.serving.pictures BUNDLE FILM`: the web page as docs/images show it, in two widths. Phantoms only."""

import sys
from pathlib import Path

from serving.server import running
from serving.settings import Settings
from tests.serving.browser import chromium
from tests.serving.tiny_bundle import loader

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDTHS = {"page.png": 1100, "page-phone.png": 390}


def main(bundle: Path, film: Path) -> None:
    """Answer the film with the bundle in a folder and store what a person sees."""
    with running(Settings(), loader(bundle, "1")) as url, chromium() as page:
        page.wait("true")
        for name, width in WIDTHS.items():
            page.open(f"{url}/", width)
            page.wait(f"fetch('{url}/readyz').then((answer) => answer.ok)")
            page.choose("#choose", film.resolve())  # the browser has another working folder
            page.wait("document.querySelector('#answer').checkVisibility() && document.querySelector('#film').naturalWidth > 0")
            page.evaluate("document.activeElement.blur()")
            (IMAGES / name).write_bytes(page.screenshot())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
