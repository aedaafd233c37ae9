"""Run one unit: data → network → fit → evaluate → log. The only thing an executor ever causes to happen."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from cxr.engine import softmax
from cxr.tasks import by_name
from training.data.films import open_pixels
from training.data.folds import ROLES
from training.data.samples import Samples, assemble
from training.evaluation import plots
from training.evaluation.metrics import HEADLINE, Predictions, evaluate
from training.learning.backbones.backbone import average
from training.learning.fitting import Fit, fit, predict, reestimate_batch_norm
from training.learning.network import Network, create
from training.protocol.plan import Unit
from training.tracking import PARENT, RECIPE, Tracking, UnitRun

WEIGHTS = "weights.safetensors"
Progress = Callable[[int, dict[str, float]], None]


def run_unit(
    unit: Unit, stores: Mapping[str, Path], tracking: Tracking, parent_run: str, progress: Progress | None = None
) -> str:
    """Train, evaluate and log one unit; returns its MLflow run id. The run is FINISHED only after every artifact is in place."""
    parts = {role: collect(unit, stores, role) for role in ROLES if unit.part(role)}
    training = unit.training
    network = create(unit.backbone.name, unit.backbone.weights, by_name(unit.tasks), training.hidden, training.dropout, unit.seed)
    origin = start_from_parents(network, unit, tracking, parts["train"])
    parent = tracking.client.get_run(parent_run)
    tags = {**unit.tags, PARENT: parent_run, RECIPE: parent.data.tags[RECIPE], "mdmt.start": origin}
    with tracking.run(parent.info.experiment_id, unit.title, tags, unit.params) as run:

        def each_epoch(epoch: int, figures: dict[str, float]) -> None:
            run.log_epoch(epoch, figures)
            if progress:
                progress(epoch, figures)

        fitted = fit(network, parts["train"], parts["val"], training, unit.seed, each_epoch)
        _log_outcome(unit, fitted, parts, run)
        return run.run_id


def collect(unit: Unit, stores: Mapping[str, Path], role: str) -> Samples:
    """The unit's films of one role, in memory, in the order of `unit.part(role)`."""
    films = {name: open_pixels(folder, unit.size) for name, folder in stores.items()}
    part = unit.part(role)
    pixels = [np.asarray(films[s.cohort][s.slot]) for s in part]
    return assemble(pixels, [f"{s.cohort}/{s.row}" for s in part], [s.labels for s in part], unit.tasks)


def start_from_parents(network: Network, unit: Unit, tracking: Tracking, train: Samples) -> str:
    """Give the backbone the weights the experiment asks for; returns in words what it started from."""
    if not unit.parents:
        return network.origin
    states = [_backbone_of(tracking, fingerprint) for fingerprint in unit.parents]
    if len(states) == 1:
        network.backbone.load_state_dict(states[0])
        return "copy of the parent's backbone"
    network.backbone.load_state_dict(average(states[0], states[1], unit.beta))
    if unit.batch_norm == "reestimate":
        reestimate_batch_norm(network, train.films, unit.training.batch_size)
    return f"average of the two STL backbones (beta {unit.beta}), BatchNorm buffers {unit.batch_norm}d"


def _backbone_of(tracking: Tracking, fingerprint: str) -> dict[str, torch.Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        state = load_file(tracking.artifact(fingerprint, WEIGHTS, Path(folder)))
    return {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}


def _log_outcome(unit: Unit, fitted: Fit, parts: Mapping[str, Samples], run: UnitRun) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_file({k: v.contiguous() for k, v in fitted.network.state_dict().items()}, folder / WEIGHTS)
        plots.curves(fitted.history, fitted.best_epoch, folder / "curves.png")
        figures: dict[str, float] = {"best_epoch": fitted.best_epoch, "epochs": len(fitted.history)}
        for role in ("val", "test"):
            if role in parts:
                figures |= _evaluate_part(unit, fitted.network, parts[role], role, folder)
        run.log_outcome(figures, folder)


def _evaluate_part(unit: Unit, network: Network, part: Samples, role: str, folder: Path) -> dict[str, float]:
    """Metrics "<role>_<task>_<metric>" of one part; writes logits and probabilities as CSV, and the test part's plots."""
    logits = predict(network, part.films)
    digests = np.array([s.digest for s in unit.part(role)])
    figures: dict[str, float] = {}
    for j, task in enumerate(by_name(unit.tasks)):
        known = part.known[:, j]
        if not known.any():
            continue
        rows = logits[task.name][known]
        answers = Predictions(tuple(digests[known]), part.labels[known, j], softmax(rows))
        metrics = evaluate(task, answers)
        wanted = metrics if role == "test" else {k: metrics[k] for k in HEADLINE if k in metrics}
        figures |= {f"{role}_{task.name}_{k}": v for k, v in wanted.items()}
        write_predictions(answers, rows, task.classes, folder / f"{role}-{task.name}.csv")
        if role == "test":
            plots.outcome(task, answers, folder / f"{role}-{task.name}.png")
    return figures


def write_predictions(answers: Predictions, logits: NDArray[np.floating], classes: Sequence[str], path: Path) -> None:
    """CSV: film digest, true class index, logit and probability of each class. Film digests, not file names or patients."""
    table = pd.DataFrame({"film": answers.films, "truth": answers.truth})
    for i, name in enumerate(classes):
        table[f"logit_{name}"] = logits[:, i]
    for i, name in enumerate(classes):
        table[f"p_{name}"] = answers.probabilities[:, i]
    table.to_csv(path, index=False, float_format="%.7g")
