"""Where networks look: the share of Grad-CAM that falls on the lungs of test films, beside that of looking everywhere alike."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from cxr.evidence import LABEL, WORSE, inside, questions, speaking_for
from cxr.pipeline import Film, prepare
from cxr.reading import TRAINING
from cxr.segmentation import OnnxSegmenter
from cxr.tasks import by_name
from training.evaluation.table import as_markdown
from training.learning.network import Explained
from training.protocol.desk import WEIGHTS
from training.protocol.execution import untrained
from training.protocol.study import Study, View
from training.protocol.unit import Unit

GOAL = 0.8
Found = dict[tuple[str, str, str], list[float]]  # (who, task, question) → share inside, film by film
EVERYWHERE, ONE_PLACE = "looking everywhere alike", "looking at the one best place of each film"
BOUNDS = (EVERYWHERE, ONE_PLACE)


def energy_table(study: Study, view: View, experiment: str) -> str:
    """Markdown: mean and median share inside the lungs per backbone and task, each film seen by the network that did not train on it.

    Two rows say what can be had: from a network that looks nowhere in particular, and the most that a grid as coarse as the networks'
    last map allows, whose places reach over the lungs' border.
    """
    found = shares_inside(study, view, experiment)
    rows = []
    for (who, task, question), values in sorted(found.items(), key=lambda item: (item[0][0] not in BOUNDS, item[0])):
        if not values:
            rows.append((who, task, question, 0, "–", "–", "silent on every film"))
            continue
        share = np.array(values)
        reached = "–" if who in BOUNDS else "reached" if share.mean() >= GOAL else "not reached"
        rows.append((who, task, question, len(share), f"{share.mean():.2f}", f"{np.median(share):.2f}", reached))
    return as_markdown(("network", "task", "what speaks for", "films", "mean share", "median", f"goal {GOAL:g}"), rows)


def shares_inside(study: Study, view: View, experiment: str) -> Found:
    """Over the first scheme and subset, first repeat: every test film of every backbone's networks that are trained."""
    plan, first = study.plan(view), (study.recipe.subsets[0].name, study.recipe.schemes[0].kind, 0)
    units = [u for u in plan.units if u.experiment == experiment and (u.subset, u.scheme, u.repeat) == first]
    trained = study.tracking.finished([unit.fingerprint for unit in units])
    units = [unit for unit in units if unit.fingerprint in trained]
    networks = {unit.fingerprint: _network(study, unit) for unit in units}
    segmenter = OnnxSegmenter.from_file(study.segmenter(view))
    rows = {(cohort.name, row.id): row for cohort in study.cohorts for row in cohort.rows}
    tested: dict[tuple[str, str], list[Unit]] = {}
    for unit in units:
        for sample in unit.part("test"):
            tested.setdefault((sample.cohort, sample.row), []).append(unit)
    found: Found = {}
    for done, (key, asked) in enumerate(sorted(tested.items()), 1):
        view.stage("where networks look", done, len(tested))
        film = prepare(rows[key].image.read_bytes(), study.recipe.pipeline, segmenter, formats=TRAINING)
        looks = [
            (unit.backbone.name, *look)
            for unit in asked
            for look in _looks(networks[unit.fingerprint], unit, film.pixels)
            if look[0] in study.recipe.answers
        ]
        found.setdefault((EVERYWHERE, "–", "–"), []).append(inside(np.ones((32, 32), np.float32), film))
        found.setdefault((ONE_PLACE, "–", "–"), []).append(best_place(looks[0][-1].shape, film))
        for who, task, question, evidence in looks:
            seen = found.setdefault((who, task, question), [])
            if evidence.any():  # a film may have nothing that speaks for what is asked
                seen.append(inside(evidence, film))
    return found


def best_place(grid: tuple[int, int], film: Film) -> float:
    """The most that can be inside the lungs on a grid (h, w): the share of the place that has most."""
    places = np.eye(grid[0] * grid[1], dtype=np.float32).reshape(-1, *grid)
    return max(inside(place, film) for place in places)


def _network(study: Study, unit: Unit) -> Explained:
    """The trained network of a finished unit."""
    network = untrained(unit, study.weights)
    with tempfile.TemporaryDirectory() as work:
        run_id = study.tracking.find(unit.fingerprint).info.run_id
        network.load_state_dict(load_file(study.tracking.download(run_id, WEIGHTS, Path(work))))
    return Explained(network).eval()


@torch.inference_mode()
def _looks(network: Explained, unit: Unit, pixels: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """(task, question, evidence (h, w)) of a film for each question that its tasks allow."""
    answers = network(torch.from_numpy(pixels.copy())[None, None])
    tasks = by_name(unit.tasks)
    for task, logits, evidence in zip(tasks, answers[: len(tasks)], answers[len(tasks) :], strict=True):
        probabilities = tuple(logits[0].softmax(0).tolist())
        asked = questions(task, int(logits[0].argmax()), probabilities)
        for question in (LABEL, WORSE):
            if question in asked:
                yield task.name, question, speaking_for(evidence[0].numpy(), asked[question])
