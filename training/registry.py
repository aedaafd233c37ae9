"""From a refitted unit to a registered version: bundle and register. What is picked before and promoted after: `promotion`."""

import hashlib
import io
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from safetensors.torch import load_file

from cxr.bundle import CARD, GOLDEN, NETWORK, SEGMENTER, WEIGHTS, GoldenCase, Manifest, write_manifest
from cxr.engine import Engine
from cxr.pipeline import prepare
from cxr.segmentation import OnnxSegmenter
from cxr.tasks import by_name
from training import imagenet, onnx_flavour
from training.data.cohorts.phantom import PhantomSpec
from training.data.cohorts.phantom.acquisition import expose
from training.data.cohorts.phantom.plan import held_out_films
from training.evaluation.calibration import fit_temperature
from training.evaluation.metrics import HEADLINE
from training.evaluation.model_card import model_card
from training.evaluation.results import Line
from training.evaluation.table import percent
from training.gate import FOLDS, FoldFigures, recorded
from training.learning.network import Network, export_onnx
from training.protocol.desk import WEIGHTS as UNIT_WEIGHTS
from training.protocol.execution import untrained
from training.protocol.recipe import BackboneChoice, Recipe
from training.protocol.study import SERVED
from training.protocol.unit import Unit
from training.runs import git_commit
from training.tracking import Tracking

REVISION = 1  # raise it when a bundle of the same unit comes out differently
BUNDLE_TAG = "mdmt.bundle"
GOLDEN_SEED = 20261123  # no cohort is made with it


def register(
    recipe: Recipe, unit: Unit, lines: Sequence[Line], folds: FoldFigures, segmenter: Path, tracking: Tracking
) -> tuple[int, bool]:
    """Bundle the refitted unit and register it, with the figures of every fold (`gate.fold_figures`).

    Returns (version, whether it is new): an equal bundle is not registered twice.
    """
    run_id = tracking.find(unit.fingerprint).info.run_id
    parts = [unit.fingerprint, hashlib.sha256(segmenter.read_bytes()).hexdigest(), recipe.digest(), str(REVISION)]
    fingerprint = hashlib.sha256("".join(parts).encode()).hexdigest()
    known = tracking.version_with(recipe.registered_name, BUNDLE_TAG, fingerprint)
    if known is not None:
        if recorded(tracking.client.get_model_version(recipe.registered_name, str(known)).tags) is None:  # older than this record
            tracking.client.set_model_version_tag(recipe.registered_name, str(known), FOLDS, folds.model_dump_json())
        tracking.client.set_model_version_tag(recipe.registered_name, str(known), "mdmt.recipe_digest", recipe.digest())
        return known, False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bundle"
        honest = estimates_of(recipe, unit.backbone, lines)
        write_bundle(folder, recipe, unit, run_id, honest, segmenter, tracking)
        tags = {BUNDLE_TAG: fingerprint, "mdmt.recipe": recipe.name, "mdmt.unit": unit.fingerprint, **_estimates(honest)}
        tags["mdmt.recipe_digest"] = recipe.digest()
        tags[FOLDS] = folds.model_dump_json()
        return tracking.register(run_id, folder, recipe.registered_name, tags), True


def estimates_of(recipe: Recipe, backbone: BackboneChoice, lines: Sequence[Line]) -> list[Line]:
    """The lines that speak for the served network: same experiment and films, same backbone, started from the same weights."""
    served = (SERVED, recipe.subsets[-1].name, backbone.name, backbone.weights)
    return [line for line in lines if (line.experiment, line.subset, line.backbone, line.weights) == served]


def write_bundle(
    folder: Path, recipe: Recipe, unit: Unit, run_id: str, lines: Sequence[Line], segmenter: Path, tracking: Tracking
) -> Manifest:
    """Everything that a served version is made of, into a new `folder`. `run_id` is the run that trained `unit`."""
    tasks = by_name(unit.tasks)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        weights = tracking.download(run_id, UNIT_WEIGHTS, work)
        network = untrained(unit, imagenet.folder(tracking.home))
        network.load_state_dict(load_file(weights))
        _save_onnx(network, unit.size, work / "network.onnx", folder)
        (folder / WEIGHTS).write_bytes(weights.read_bytes())
        temperatures = {task.name: _temperature(run_id, task.name, tracking, work) for task in tasks}
    (folder / SEGMENTER).write_bytes(segmenter.read_bytes())
    (folder / GOLDEN).write_bytes(golden_film())
    table = [(line.scheme, line.task, str(line.films), *(percent(line.folds[m]) for m in HEADLINE)) for line in lines]
    films = {c: sum(s.cohort == c for s in unit.sheet.samples) for c in sorted({s.cohort for s in unit.sheet.samples})}
    backbone, commit = f"{unit.backbone.name} ({network.origin})", git_commit()
    card = model_card(
        recipe.registered_name, tasks, recipe.name, recipe.digest(), commit, backbone, films, temperatures, table
    )  # fmt: skip
    (folder / CARD).write_text(card)
    lineage = {
        "run": run_id,
        "unit": unit.fingerprint,
        "recipe": recipe.name,
        "recipe_digest": recipe.digest(),
        "data_digest": unit.sheet.digest,
        "code": commit,
        "backbone": backbone,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return write_manifest(
        folder, recipe.pipeline, tasks, temperatures, _golden_case(folder, recipe, tasks, temperatures), lineage
    )


def _save_onnx(network: Network, size: int, graph: Path, folder: Path) -> None:
    export_onnx(network, size, graph)
    logits = [(task.name, "float32", (-1, len(task.classes))) for task in network.tasks]
    onnx_flavour.save(graph, folder, [("film", "uint8", (-1, 1, size, size))], logits)


def _temperature(run_id: str, task: str, tracking: Tracking, work: Path) -> float:
    table = pd.read_csv(tracking.download(run_id, f"val-{task}.csv", work))
    logits = table[[name for name in table.columns if name.startswith("logit_")]].to_numpy()
    return fit_temperature(logits, table["truth"].to_numpy())


def golden_film() -> bytes:
    """PNG of a generated film: a golden case travels with every bundle, so it must never be a patient's."""
    film = next(iter(held_out_films(PhantomSpec.small(seed=GOLDEN_SEED))))
    out = io.BytesIO()
    Image.fromarray((expose(film).picture * 255).astype(np.uint8)).save(out, format="PNG")
    return out.getvalue()


def _golden_case(folder: Path, recipe: Recipe, tasks: Sequence, temperatures: Mapping[str, float]) -> GoldenCase:
    film = prepare((folder / GOLDEN).read_bytes(), recipe.pipeline, OnnxSegmenter.from_file(folder / SEGMENTER))
    rows = Engine((folder / NETWORK).read_bytes(), tasks, temperatures).probabilities(film.pixels[None])
    return GoldenCase(
        probabilities={name: [float(p) for p in row[0]] for name, row in rows.items()}, box=film.box, film_digest=film.digest
    )


def _estimates(lines: Sequence[Line]) -> dict[str, str]:
    """Tags of a version: its honest estimate, to compare versions by in the registry's own page."""
    return {f"mdmt.{line.scheme}.{line.task}.{m}": percent(line.folds[m]) for line in lines for m in ("acc", "gmean", "auc")}
