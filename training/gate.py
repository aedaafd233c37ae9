"""The gate before an alias: a version that computes what was registered, is calibrated, says where it comes from, and is not worse than
the champion on the folds that were recorded with both.

Two versions are compared on what their recipes measured of networks like them: the headline task, fold by fold, on the folds that test
the same people with the same labels. Worse is

- a mean that is lower by more than MARGIN where a paired one-sided t-test over the common folds says so at p < LEVEL, or
- a mean that is lower by more than LIMIT, whatever the test says: with five folds it misses large losses.

Folds of one cross-validation share training films, so the test is somewhat too ready to say "worse" (Nadeau and Bengio, "Inference for
the generalization error", 2003); for a gate that is the safe side. Without two common folds nothing can be compared: that is a finding
too, and the gate stays closed until somebody opens it by hand and says why.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from pydantic import BaseModel, ConfigDict, ValidationError

from cxr.bundle import Bundle
from cxr.manifest import BundleError
from training.evaluation.metrics import HEADLINE
from training.evaluation.results import Results
from training.evaluation.statistics import compare
from training.protocol.plan import Plan
from training.protocol.recipe import BackboneChoice, Recipe
from training.protocol.served import served_units
from training.protocol.unit import Unit
from training.tracking import Tracking, TrackingError

FOLDS = "mdmt.folds"  # tag of a version: its FoldFigures as JSON
PROVENANCE = ("run", "unit", "recipe", "recipe_digest", "data_digest", "code", "backbone", "created")
MARGIN, LEVEL, LIMIT = 0.01, 0.05, 0.05  # of a metric in [0, 1]; of a probability; of a metric


class FoldFigures(BaseModel):
    """Figures of the served experiment, fold by fold, recorded with a version. `metric` is the one that the recipe picks by; `folds` is
    digest of who is tested → metric → value in [0, 1]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    scheme: str
    metric: str
    folds: dict[str, dict[str, float]]


class Check(BaseModel):
    """One finding. `waivable`: a person may promote in spite of it, and say why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    passed: bool
    says: str
    waivable: bool = False


def fold_figures(recipe: Recipe, backbone: BackboneChoice, plan: Plan, results: Results) -> FoldFigures:
    """What is recorded with a version: of the headline task in the group that `promotion.pick` looks at too."""
    folds = {
        _tested(unit, recipe.headline): {metric: found.figures[metric] for metric in HEADLINE if metric in found.figures}
        for unit, found in served_units(recipe, backbone, plan, results)
        if found.task == recipe.headline
    }
    return FoldFigures(task=recipe.headline, scheme=recipe.served_group[2], metric=recipe.pick, folds=folds)


def _tested(unit: Unit, task: str) -> str:
    """Digest of the films that the fold tests, by row and label: not of their pixels, for another size is a change worth comparing."""
    rows = sorted([s.cohort, s.row, s.labels[task]] for s in unit.part("test") if task in s.labels)
    return hashlib.sha256(json.dumps([rows, unit.repeat]).encode()).hexdigest()[:16]


def check_version(name: str, version: int, tracking: Tracking) -> list[Check]:
    """Download the version as serving would: every digest, the golden case, calibration, provenance."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            bundle = Bundle(tracking.download_version(name, version, Path(folder)))
            bundle.check_golden()
        except (BundleError, TrackingError) as error:
            return [Check(name="golden case", passed=False, says=str(error))]
    manifest = bundle.manifest
    uncalibrated = [task.name for task in bundle.tasks if task.name not in manifest.temperatures]
    untold = [field for field in PROVENANCE if not manifest.lineage.get(field)]
    told = ", ".join(f"{field} {manifest.lineage[field][:12]}" for field in ("recipe", "data_digest", "code") if not untold)
    return [
        Check(name="golden case", passed=True, says="answered as recorded"),
        Check(
            name="calibration",
            passed=not uncalibrated,
            says=f"none for {', '.join(uncalibrated)}: register the version again" if uncalibrated else "of every task",
        ),
        Check(
            name="provenance",
            passed=not untold,
            says=f"does not say {', '.join(untold)}: register the version again" if untold else told,
        ),
    ]


def check_against(candidate: int, champion: int | None, tags: Mapping[int, Mapping[str, str]]) -> tuple[Check, dict[str, float]]:
    """Whether the candidate is as good as the champion; with the figures that say so. `tags` are those of the versions."""
    name = "not worse than the champion"
    if champion is None:
        return Check(name=name, passed=True, says="there is none"), {}
    ours, theirs = (recorded(tags[version]) for version in (candidate, champion))
    if ours is None or theirs is None:
        silent = candidate if ours is None else champion
        says = f"version {silent} records no folds: not comparable"
        return Check(name=name, passed=False, says=says, waivable=True), {}
    new, old = ({fold: f[ours.metric] for fold, f in of.folds.items() if ours.metric in f} for of in (ours, theirs))
    common = sorted(new.keys() & old.keys())
    if ours.task != theirs.task or len(common) < 2:
        says = (
            f"{len(common)} of its {len(new)} folds test the people of a fold of version {champion} on {ours.task!r}, at least 2 "
            "must: other data, other folds or another task are not comparable"
        )
        return Check(name=name, passed=False, says=says, waivable=True), {}
    found = compare(ours.metric, "mean", "champion", {f: old[f] for f in common}, "candidate", {f: new[f] for f in common})
    lost = found.difference
    worse = lost > LIMIT or (lost > MARGIN and found.p < LEVEL)
    means = fmean(new[f] for f in common), fmean(old[f] for f in common)
    says = (
        f"{ours.metric} of {ours.task} {means[0]:.4f}, of version {champion} {means[1]:.4f} on the same {len(common)} folds"
        f" (one-sided p of worse {found.p:.3f}): {'worse' if worse else 'not worse'}"
    )
    figures = {"mean": means[0], "champion_mean": means[1], "difference": -lost, "p_worse": found.p, "folds": float(len(common))}
    return Check(name=name, passed=not worse, says=says, waivable=True), figures


def recorded(tags: Mapping[str, str]) -> FoldFigures | None:
    """The figures that were recorded with a version; None when there are none that can be read."""
    try:
        return FoldFigures.model_validate_json(tags.get(FOLDS, ""))
    except ValidationError:
        return None
