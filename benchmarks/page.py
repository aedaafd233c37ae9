"""What every page of measurements says, and how: what it was made with, tables, and goals whose verdict follows from the figures.

A page is a row of blocks of Markdown, with an empty line between each two.
"""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from cxr.host import cores, processor
from training.evaluation.table import as_markdown as table

ROOT = Path(__file__).parents[1]


class Goal(NamedTuple):
    """`wanted` names a figure and its limit, `found` is that figure with its unit."""

    wanted: str
    found: str
    reached: bool


def write(path: Path, blocks: Iterable[str]) -> None:
    path.write_text("\n\n".join(block for block in blocks if block) + "\n")


def head(
    title: str, about: str, packages: Iterable[str], threads: str, quick: bool = False, elsewhere: Sequence[Path] = ()
) -> list[str]:
    """Title, how this process has come to its figures, and what a reader has to know of them.

    `packages` are named with their versions, first looked for in the site-packages `elsewhere`; absent ones are left out. `quick`: the
    figures are of a form that only shows that everything runs.
    """
    kernel = f"{platform.system()} {platform.release()}"
    made_with = [f"Python {platform.python_version()}", *(f"{name} {found}" for name, found in versions(packages, elsewhere))]
    return [
        f"# {title}",
        "Research use only, not a medical device." + (" This is the quick form: too short to be quoted." if quick else ""),
        f"- Command: `{shlex.join(['python', *sys.orig_argv[1:]])}`\n"
        f"- Machine: {processor()}, {cores()} cores, load {os.getloadavg()[0]:.1f} at the end, {kernel}\n"
        f"- Code: {commit(ROOT)}\n"
        f"- Versions: {', '.join(made_with)}\n"
        f"- Threads: {threads} (OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')})",
        about,
    ]


def commit(checkout: Path) -> str:
    """Short hash of a checkout, with "+ changes" where a tracked file is another, the pages themselves aside; "unknown" without git."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)benchmarks/*.md")
        return git("rev-parse", "--short=7", "HEAD") + (" + changes" if changed else "")
    except (subprocess.CalledProcessError, OSError):
        return "unknown"


def versions(packages: Iterable[str], elsewhere: Sequence[Path] = ()) -> list[tuple[str, str]]:
    """(name, version) of those that are installed."""
    path = [*map(str, elsewhere), *sys.path]
    found = {name: next(iter(metadata.distributions(name=name, path=path)), None) for name in packages}
    return [(name, one.version) for name, one in found.items() if one is not None]


def goals(rows: Iterable[Goal]) -> str:
    """The section of the goals."""
    verdicts = [(goal.wanted, goal.found, "reached" if goal.reached else "not reached") for goal in rows]
    return "## Goals\n\n" + table(("goal", "found", ""), verdicts)
