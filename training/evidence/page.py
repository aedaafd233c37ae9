"""docs/evidence.md: what the studies on real films have shown. Each study writes its own part between two marks; no number is typed.

Pictures are charts, never films: the page is published, the films are not ours to publish.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PICTURES = "images/evidence"  # beside the page


class NoPlace(ValueError):
    """A page that has no place for a part."""


@dataclass(frozen=True)
class Part:
    """What one study shows. `blocks` of Markdown stand under its title; `pictures` are PNGs by file name, which blocks refer to by
    `picture`; `kept` are files that show films or name them (contact sheets): they stay on this machine and out of MLflow."""

    recipe: str
    title: str
    blocks: tuple[str, ...]
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    kept: Mapping[str, bytes] = field(default_factory=dict)


def picture(name: str, says: str) -> str:
    """A block that shows one of the part's pictures; `says` is read out where it cannot be seen."""
    return f"![{says}]({PICTURES}/{name})"


def markdown(part: Part) -> str:
    """The part as it stands in the page, with its marks."""
    begin, end = _marks(part.recipe)
    blocks = [begin, f"## {part.title}", *(block for block in part.blocks if block), end]
    return "\n\n".join(blocks) + "\n"


def put(part: Part, page: Path) -> None:
    """Put the part where its marks are in `page`; the rest of the page stays. Raises NoPlace for a page without its marks."""
    begin, end = _marks(part.recipe)
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    place = re.compile(re.escape(begin) + ".*?" + re.escape(end) + "\n?", re.DOTALL)
    if len(place.findall(text)) != 1:
        raise NoPlace(f"{page} has no place for recipe {part.recipe!r}: it needs one line {begin} and, below it, one line {end}")
    folder = page.parent / PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in part.pictures.items():
        (folder / name).write_bytes(content)
    page.write_text(place.sub(lambda _: markdown(part), text), encoding="utf-8")


def keep(part: Part, folder: Path) -> None:
    """The part and its pictures into the report's folder, and what must stay here into a folder beside it, "<folder>-films"."""
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    (folder / "evidence.md").write_text(markdown(part), encoding="utf-8")
    for name, content in part.pictures.items():
        (folder / PICTURES / name).write_bytes(content)
    local = folder.with_name(f"{folder.name}-films")  # beside the folder, which is logged to MLflow as a whole
    for name, content in part.kept.items():
        local.mkdir(parents=True, exist_ok=True)
        (local / name).write_bytes(content)


def _marks(recipe: str) -> tuple[str, str]:
    return f"<!-- {recipe} -->", f"<!-- /{recipe} -->"
