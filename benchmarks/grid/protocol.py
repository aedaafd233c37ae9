"""`python -m benchmarks.grid.protocol [--checkout FOLDER] [--repeats 10]`: the wall-clock time of a study of 200 small units.

The same recipe on any checkout of this project, today's or an older one: four experiments × five folds × repeats of
shufflenet_v2_x0_5 at 64 px on generated films, two workers of one thread. Films are prepared before the clock starts. Each study
leaves a JSON file in state/bench/grid.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.clock import spent
from benchmarks.page import ROOT, commit
from cxr.pipeline import PipelineSpec
from training.protocol.recipe import BackboneChoice, Recipe, Running, Scheme, SegmenterChoice
from training.protocol.recipes import PHANTOM_COHORTS
from training.settings import Training

STATE = ROOT / "state" / "bench" / "grid"
PHANTOM = ("--prognosis", "64", "--severity", "30", "--films-per-subject", "1", "--pairs", "24", "--seed", "55")
WORKERS, FOLDS = 2, 5
EXPERIMENTS = ("stl-prognosis", "stl-severity", "ft", "mdmt")


def recipe(repeats: int) -> Recipe:
    """Written out without defaults, so that older code reads it too."""
    return Recipe(
        name="bench",
        description="small units, to time what is around them",
        data=("nowhere",),
        cohorts=PHANTOM_COHORTS,
        segmenter=SegmenterChoice(preset="smoke"),
        pipeline=PipelineSpec(size=64),
        backbones=(BackboneChoice(name="shufflenet_v2_x0_5", weights="scratch"),),
        experiments=EXPERIMENTS,
        schemes=(Scheme(kind="cv", folds=FOLDS, repeats=repeats),),
        training=Training(batch_size=16, max_epochs=3, patience=3, warmup_epochs=0, hidden=16),
        running=Running(pictures="none", free_gib=0),
    )


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.grid.protocol")
    options.add_argument("--checkout", type=Path, default=ROOT, help="folder of the code that is timed")
    options.add_argument("--repeats", type=int, default=10, help="of the folds; 10 are 200 units")
    options.add_argument("--state", type=Path, default=STATE)
    given = options.parse_args()
    sys.stdout.write(f"{json.dumps(study(given.checkout.resolve(), given.repeats, given.state.resolve()))}\n")


def study(checkout: Path, repeats: int, state: Path) -> dict[str, Any]:
    """Time it with the code in `checkout`: {"commit", "units", "workers", "at", "wall" and "cpu" in seconds}."""
    code = commit(checkout)
    phantom, home = state / "phantom", state / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    file = state / "recipe.json"
    file.write_text(recipe(repeats).model_dump_json(exclude_unset=True))
    mdmt(ROOT, home, "phantom", "--folder", phantom, *PHANTOM)
    asked = ("--recipe", file, "--data", phantom, "--workers", WORKERS)
    mdmt(checkout, home, "prepare", *asked)
    took = spent(lambda: mdmt(checkout, home, "run", *asked))
    units = len(EXPERIMENTS) * FOLDS * repeats
    found: dict[str, Any] = {
        "commit": code,
        "units": units,
        "workers": WORKERS,
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
    }
    found |= {"wall": took.wall, "cpu": took.cpu}
    (state / f"protocol-{code.replace(' + ', '-with-')}.json").write_text(json.dumps(found))
    shutil.rmtree(home)
    return found


@contextmanager
def checked_out(revision: str, folder: Path, repository: Path = ROOT) -> Iterator[Path | None]:
    """The code of an older commit in `folder`, as long as it is wanted; None where git does not have it (a shallow clone, no git)."""

    def git(*arguments: object) -> None:
        subprocess.run(["git", *map(str, arguments)], cwd=repository, check=True, capture_output=True)

    try:
        if folder.exists():  # of a run that was killed
            git("worktree", "remove", "--force", folder)
        git("worktree", "prune")
        git("worktree", "add", "--detach", folder, revision)
    except (subprocess.CalledProcessError, OSError):
        yield None
        return
    try:
        yield folder
    finally:
        git("worktree", "remove", "--force", folder)


def mdmt(checkout: Path, home: Path, verb: str, *arguments: object) -> None:
    """A verb of that checkout on that home; where it fails, what it said ends this process too."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "MDMT_"))}
    environment = clean | {"MDMT_HOME": str(home), "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(checkout / "mdmt.py"), verb, *map(str, arguments)]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"mdmt {verb} of {checkout.name} ended with code {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


if __name__ == "__main__":
    main()
