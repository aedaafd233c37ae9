"""From a refitted unit to a registered version: bundle and register. What is picked before and promoted after: `promotion`."""

import hashlib
import io
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

from cxr.conformal import SetLimits
from cxr.engine import EVIDENCE, Engine
from cxr.manifest import CARD, GATE, GOLDEN, MANIFEST, NETWORK, SEGMENTER, WEIGHTS, GoldenCase, write_manifest
from cxr.pipeline import Film, prepare
from cxr.segmentation import OnnxSegmenter
from cxr.signature import fingerprint as key_fingerprint
from cxr.signature import public_of, sign, signing_key
from cxr.tasks import by_name
from training import imagenet, onnx_flavour, precision
from training.data.cohort import Cohort
from training.data.cohorts.phantom import PhantomSpec
from training.data.cohorts.phantom.acquisition import expose
from training.data.cohorts.phantom.plan import held_out_films
from training.data.films.preparing import graph_digest
from training.evaluation.card import model_card
from training.evaluation.card.out_of_fold import calibrate, out_of_fold
from training.evaluation.conformal import ALPHA
from training.evaluation.results import Line
from training.evaluation.table import percent
from training.gate import FOLDS, recorded
from training.input_gate import gate_of
from training.learning.network import Network, export_onnx
from training.protocol.desk import WEIGHTS as UNIT_WEIGHTS
from training.protocol.execution import untrained
from training.protocol.experiments import in_order
from training.protocol.recipe import Recipe, RecipeError
from training.protocol.unit import Unit
from training.tracking import Tracking
from training.version_card import Findings, card_facts

REVISION = 4  # raise it when a bundle of the same unit comes out differently
BUNDLE_TAG = "mdmt.bundle"
GOLDEN_SEED = 20261123  # no cohort is made with it
GOLDEN_FILMS = 4


def register(
    recipe: Recipe, unit: Unit, found: Findings, segmenter: Path, tracking: Tracking, cohorts: Sequence[Cohort] = (),
    prove: bool = False,
) -> tuple[int, bool]:  # fmt: skip
    """Bundle the refitted unit and register it, with what the study found (`version_card.findings`) and an input gate fitted to the films
    of `cohorts` (none: the version has no gate). `prove` compares bfloat16 with float32 on these films (`training.precision`).

    Returns (version, whether it is new): an equal bundle is not registered twice. Raises RecipeError where no fold has tested a task.
    """
    run_id = tracking.find(unit.fingerprint).info.run_id
    parts = [unit.fingerprint, graph_digest(segmenter), recipe.digest(), str(REVISION)]
    parts += ["proved"] * prove
    if key := signing_key():  # an equal bundle signed by another is another version
        parts.append(key_fingerprint(public_of(key)))
    fingerprint = hashlib.sha256("".join(parts).encode()).hexdigest()
    known = tracking.version_with(recipe.registered_name, BUNDLE_TAG, fingerprint)
    if known is not None:
        if recorded(tracking.client.get_model_version(recipe.registered_name, str(known)).tags) is None:  # older than this record
            tracking.client.set_model_version_tag(recipe.registered_name, str(known), FOLDS, found.folds.model_dump_json())
        tracking.client.set_model_version_tag(recipe.registered_name, str(known), "mdmt.recipe_digest", recipe.digest())
        return known, False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bundle"
        write_bundle(folder, recipe, unit, run_id, found, segmenter, tracking, cohorts, prove, key)
        tags = {BUNDLE_TAG: fingerprint, "mdmt.recipe": recipe.name, "mdmt.unit": unit.fingerprint, **_estimates(found.lines)}
        tags["mdmt.recipe_digest"] = recipe.digest()
        tags[FOLDS] = found.folds.model_dump_json()
        return tracking.register(run_id, folder, recipe.registered_name, tags), True


def answered(recipe: Recipe) -> str:
    """What a version answers, and what else the recipe learns and no version answers."""
    learned = [task for experiment in in_order(recipe.experiments, recipe.known_experiments) for task in experiment.tasks]
    others = [task for task in dict.fromkeys(learned) if task not in recipe.answers]
    said = f"answers {', '.join(recipe.answers)}"
    if not others:
        return said
    return f"{said}; learned besides and not answered: {', '.join(others)} (served is what experiment {recipe.served_group[0]!r} answers)"


def write_bundle(
    folder: Path, recipe: Recipe, unit: Unit, run_id: str, found: Findings, segmenter: Path, tracking: Tracking,
    cohorts: Sequence[Cohort], prove: bool, key: str | None,
) -> None:  # fmt: skip
    """Everything that a served version is made of, into a new `folder`. `run_id` is the run that trained `unit`; `key` signs."""
    tasks, answers = by_name(recipe.answers), _calibrating(recipe, found)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        weights = tracking.download(run_id, UNIT_WEIGHTS, work)
        network = untrained(unit, imagenet.folder(tracking.home))
        network.load_state_dict(load_file(weights))
        network.tasks = tasks  # what was only learnt along has no output
        _save_onnx(network, unit.size, work / "network.onnx", folder)
        (folder / WEIGHTS).write_bytes(weights.read_bytes())
    fitted = {name: calibrate(*answered) for name, answered in answers.items()}
    calibrated_on = {name: len(truth) for name, (_, truth) in answers.items()}
    temperatures = {name: temperature for name, (temperature, _) in fitted.items()}
    limits = {name: _set_limits(highest, calibrated_on[name]) for name, (_, highest) in fitted.items()}
    (folder / SEGMENTER).write_bytes(segmenter.read_bytes())
    lungs = OnnxSegmenter.from_file(segmenter)
    if gate := gate_of(cohorts, recipe.pipeline, lungs):
        (folder / GATE).write_text(gate.model_dump_json())
    backbone = f"{unit.backbone.name} ({network.origin})"
    facts = card_facts(recipe, unit, found, backbone, temperatures, calibrated_on)
    (folder / CARD).write_text(model_card(facts), encoding="utf-8")
    lineage = {
        "run": run_id,
        "unit": unit.fingerprint,
        "recipe": recipe.name,
        "recipe_digest": recipe.digest(),
        "data_digest": unit.sheet.digest,
        "code": facts.commit,
        "backbone": backbone,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    engine = Engine((folder / NETWORK).read_bytes(), tasks, temperatures)
    golden = dict(zip(golden_names(), golden_films(), strict=True))
    for name, film in golden.items():
        (folder / name).write_bytes(film)
    cases = {name: _golden_case(prepare(film, recipe.pipeline, lungs), engine) for name, film in golden.items()}
    mix = {task.name: _class_mix(task.classes, answers[task.name][0]) for task in tasks}
    write_manifest(folder, recipe.pipeline, tasks, temperatures, cases.pop(GOLDEN), lineage, limits, cases, mix)
    if prove:
        source = f"{recipe.name}: {', '.join(cohort.name for cohort in cohorts)}"
        precision.write_proof(folder, "bfloat16", precision.prove(folder, precision.films_of(cohorts), source))
    if key:
        sign(folder, (folder / MANIFEST).read_bytes(), key)


def _save_onnx(network: Network, size: int, graph: Path, folder: Path) -> None:
    export_onnx(network, size, graph)
    outputs = [(task.name, "float32", (-1, len(task.classes))) for task in network.tasks]
    if network.last_map:
        outputs += [(EVIDENCE + task.name, "float32", (-1, len(task.classes), -1, -1)) for task in network.tasks]
    onnx_flavour.save(graph, folder, [("film", "uint8", (-1, 1, size, size))], outputs)


def _calibrating(recipe: Recipe, found: Findings) -> dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Of each task that is answered: what the folds' networks said to the films that they tested, and the truth."""
    answers = {judged.task.name: out_of_fold(judged) for judged in found.judged}
    if lacking := [task for task in recipe.answers if task not in answers]:
        raise RecipeError(
            f"no finished fold of {recipe.served_group[0]!r} has tested a film of {', '.join(lacking)}, so nothing can calibrate the "
            f"answer: finish `mdmt run --recipe {recipe.name}` and register then"
        )
    return answers


def _set_limits(highest: NDArray[np.float64], films: int) -> SetLimits:
    return SetLimits(alpha=ALPHA, highest=[float(limit) if np.isfinite(limit) else None for limit in highest], films=films)


def golden_films() -> list[bytes]:
    """PNGs of generated films: golden cases travel with every bundle, so they must never be a patient's."""
    films = []
    for film in islice(held_out_films(PhantomSpec.small(seed=GOLDEN_SEED)), GOLDEN_FILMS):
        out = io.BytesIO()
        Image.fromarray((expose(film).picture * 255).astype(np.uint8)).save(out, format="PNG")
        films.append(out.getvalue())
    return films


def golden_names() -> list[str]:
    """The files of the golden films; the first has no number, as bundles of 0.1.0 have one only."""
    stem, _, suffix = GOLDEN.partition(".")
    return [GOLDEN, *(f"{stem}-{number}.{suffix}" for number in range(2, GOLDEN_FILMS + 1))]


def _class_mix(classes: Sequence[str], logits: NDArray[np.float64]) -> dict[str, float]:
    """Share of each label among the predictions: temperature moves no label."""
    counts = np.bincount(logits.argmax(axis=1), minlength=len(classes))
    return {label: float(count) / max(1, len(logits)) for label, count in zip(classes, counts, strict=True)}


def _golden_case(film: Film, engine: Engine) -> GoldenCase:
    rows = engine.probabilities(film.pixels[None])
    return GoldenCase(
        probabilities={name: [float(p) for p in row[0]] for name, row in rows.items()}, box=film.box, film_digest=film.digest
    )


def _estimates(lines: Sequence[Line]) -> dict[str, str]:
    """Tags of a version: its honest estimate, to compare versions by in the registry's own page."""
    return {f"mdmt.{line.scheme}.{line.task}.{m}": percent(line.folds[m]) for line in lines for m in ("acc", "gmean", "auc")}
