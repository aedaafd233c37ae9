"""`python -m benchmarks.gate.run`: what the input gate lets through and what it refuses, with n and 95 % intervals.

For each recipe whose films and lung U-Net are on this machine, the gate is fitted to four fifths of the patients and asked about the
last fifth, five times; then it is fitted to all, and asked about pictures of other things. Writes benchmarks/gate.md.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks import page
from benchmarks.clock import middle, spent
from benchmarks.gate.report import Evaluated, blocks
from benchmarks.page import ROOT
from cxr.gate import Gate
from cxr.measures import measure
from cxr.pipeline import PipelineSpec, look
from cxr.reading import read
from cxr.segmentation import OnnxSegmenter
from services.console import StudyView
from services.environment import tracking
from services.executors.process import ProcessExecutor
from training.data.cohort import CohortError
from training.evidence.gate_cases import Gray, as_fitted, oddities, of_cohorts, other_pictures, outcome
from training.evidence.gate_rates import held_out, without
from training.evidence.oddities import patients_of
from training.input_gate import is_enough
from training.protocol.recipe import Recipe, RecipeError, find_data, load_recipe
from training.protocol.study import Study

OUTPUT = ROOT / "benchmarks" / "gate.md"
REPEATS = 30  # of one film, where the gate is timed


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.gate.run", description=__doc__)
    options.add_argument("--recipe", action="append", metavar="NAME[=FOLDER]", help="default: real-cxr and demo, where they lie")
    options.add_argument("--most", type=int, default=400, help="films of each cohort")
    options.add_argument("--output", type=Path, default=OUTPUT)
    chosen = options.parse_args()
    evaluated: list[Evaluated] = []
    absent: dict[str, str] = {}
    for wish in chosen.recipe or ("real-cxr", "demo"):
        name, _, folder = wish.partition("=")
        try:
            evaluated.append(_evaluated(load_recipe(name), Path(folder) if folder else None, chosen.most))
        except (RecipeError, CohortError) as error:
            absent[name] = str(error).splitlines()[0]
    page.write(chosen.output, blocks(evaluated, absent))
    sys.stdout.write(chosen.output.read_text())


def _evaluated(recipe: Recipe, folder: Path | None, most: int) -> Evaluated:
    """Raises RecipeError or CohortError where films or U-Net are not here."""
    study, data = Study(recipe, folder, tracking(), ProcessExecutor(1), 1), find_data(recipe, folder)
    if not study.segmenter_is_trained():
        raise RecipeError(f"its lung U-Net is not trained here: `mdmt segmenter train --recipe {recipe.name}` does")
    segmenter = OnnxSegmenter.from_file(study.segmenter(StudyView(Console(stderr=True))))
    shown = list(of_cohorts(study.cohorts, recipe.pipeline, segmenter, most))
    films = as_fitted(shown)
    if not is_enough(films):
        raise RecipeError(f"{len(films)} films are too few for a gate")
    gate = without(shown, patients_of(data / "oddities"))
    files = {**oddities(data / "oddities"), **other_pictures()}
    said = {name: outcome(content, recipe.pipeline, segmenter, gate) for name, content in files.items()}
    milliseconds = _milliseconds(gate, read(files["photograph: temple"]).pixels.astype("uint8"), recipe.pipeline, segmenter)
    assert gate.model is not None
    return Evaluated(recipe.name, gate.model, held_out(shown), said, milliseconds)


def _milliseconds(gate: Gate, gray: Gray, spec: PipelineSpec, segmenter: OnnxSegmenter) -> dict[str, float]:
    """Median own CPU time: of the gate's part for a film, and of a refusal that tries every remedy."""
    seen = look(gray, spec, segmenter)
    works: dict[str, Callable[[], object]] = {
        "measures and score of a film": lambda: gate.score(measure(seen)),
        "search for a remedy": lambda: gate._remedy(gray, lambda picture: look(picture, spec, segmenter)),
    }
    return {name: 1000 * middle([spent(work) for _ in range(REPEATS)]).cpu for name, work in works.items()}


if __name__ == "__main__":
    main()
