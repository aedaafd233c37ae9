"""Train one unit: data → network → fit → evaluate → outcome on the unit's desk. No MLflow here: what trains does not wait for it."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from cxr.engine import softmax
from cxr.tasks import by_name
from training.data.films import FILMS, open_pixels
from training.data.folds import ROLES
from training.data.rows import FilmRows
from training.data.samples import Samples, assemble
from training.evaluation import plots
from training.evaluation.calibration import calibrated_figures
from training.evaluation.conformal import conformal_figures
from training.evaluation.metrics import HEADLINE, Predictions, evaluate
from training.learning.backbones.backbone import average
from training.learning.calibration import way_here
from training.learning.devices import Way, way_of
from training.learning.distributed import fit_together
from training.learning.fitting import Fit, fit, reestimate_batch_norm
from training.learning.network import Network, create
from training.learning.views import predict_views
from training.protocol.desk import HISTORY, WEIGHTS, Desk, Outcome
from training.protocol.unit import Unit

Progress = Callable[[int, dict[str, float]], None]
Fetch = Callable[[str], Path]  # fingerprint of a parent → its weights file


def train(
    unit: Unit, desk: Desk, stores: Mapping[str, Path], weights: Path, fetch: Fetch, progress: Progress,
    keep_going: Callable[[], None] | None = None, pictures: bool = True, keep_weights: bool = True,
) -> Outcome:  # fmt: skip
    """Train and evaluate one unit, going on from its last checkpoint; the outcome is sealed on the desk.

    `weights` is the folder of ImageNet weights; `fetch` finds the weights of a parent; `keep_going` may raise to stop.
    """
    torch.set_num_threads(unit.threads)
    moments = [time.monotonic()]

    def each_epoch(epoch: int, figures: dict[str, float]) -> None:
        moments.append(time.monotonic())
        progress(epoch, figures)

    parts = {role: collect(unit, stores, role) for role in ROLES if unit.part(role)}
    network = start(unit, weights, fetch, parts["train"])
    way = way_for(unit, network, desk.folder.parents[1])
    one_fit = fit if unit.gpus_per_unit == 1 else partial(fit_together, unit.gpus_per_unit)
    fitted = one_fit(
        network, parts["train"], parts["val"], unit.training, unit.seed, each_epoch,
        checkpoints=desk.checkpoints, identity=unit.fingerprint, device=unit.device, keep_going=keep_going, way=way,
    )  # fmt: skip
    draft = desk.draft()
    figures = write_outcome(unit, fitted, parts, draft, pictures, keep_weights)
    if len(moments) > 1:
        figures["seconds_per_epoch"] = (moments[-1] - moments[0]) / (len(moments) - 1)
    return desk.seal(draft, figures, {"mdmt.start": network.origin, "mdmt.way": str(way)})


def way_for(unit: Unit, network: Network, home: Path) -> Way:
    """Layout and precision of the unit's steps: as its settings say, or, for "auto", as was measured once for all workers of `home`."""
    if unit.training.precision != "auto":
        return way_of(unit.training)
    films = unit.training.batch_size // unit.training.accumulate
    return way_here(home, unit.backbone.name, network, unit.size, films, unit.device, unit.threads)


def collect(unit: Unit, stores: Mapping[str, Path], role: str) -> Samples:
    """The unit's films of one role where they lie, in the order of `unit.part(role)`."""
    part = unit.part(role)
    cohorts = sorted({s.cohort for s in part})
    owners = np.array([cohorts.index(s.cohort) for s in part])
    films = FilmRows([_mapped(stores[name], unit.size) for name in cohorts], owners, np.array([s.slot for s in part]))
    return assemble(films, [f"{s.cohort}/{s.row}" for s in part], [s.labels for s in part], unit.tasks)


def _mapped(store: Path, size: int) -> NDArray[np.uint8]:
    """All films of a store; they stay mapped in this process from unit to unit, and their pages are those of every other process."""
    return _opened(store, size, (store / FILMS).stat().st_size)


@lru_cache(maxsize=8)
def _opened(store: Path, size: int, length: int) -> NDArray[np.uint8]:
    """`length` in bytes: a store that has grown is mapped anew."""
    return open_pixels(store, size)


def untrained(unit: Unit, weights: Path) -> Network:
    """The unit's network as it is built: ImageNet or random backbone, random heads."""
    chosen, t = unit.backbone, unit.training
    tasks = by_name(unit.tasks)
    return create(
        chosen.name, chosen.weights, tasks, t.hidden, t.dropout, unit.seed, t.normalisation, t.channels, weights, t.pooling
    )


def start(unit: Unit, weights: Path, fetch: Fetch, train: Samples) -> Network:
    """The network before its first step, with what the experiment asks for in its backbone; `origin` says so in words."""
    network = untrained(unit, weights)
    if not unit.parents:
        return network.to(unit.device)
    states = [_backbone_in(fetch(fingerprint)) for fingerprint in unit.parents]
    if len(states) == 1:
        network.backbone.load_state_dict(states[0])
        network.origin = "copy of the parent's backbone"
        return network.to(unit.device)
    shares = [unit.beta, 1 - unit.beta] if len(states) == 2 else [1 / len(states)] * len(states)
    averaged = average(states, shares)
    if unit.batch_norm == "initial":
        own = network.backbone.state_dict()
        parameters = {name for name, _ in network.backbone.named_parameters()}
        averaged = {name: value if name in parameters else own[name] for name, value in averaged.items()}
    network.backbone.load_state_dict(averaged)
    network.to(unit.device)
    if unit.batch_norm == "reestimate":
        reestimate_batch_norm(network, train.films, unit.training.batch_size)
    words = {"average": "averaged", "reestimate": "re-estimated on the training films", "initial": "left as before any training"}
    network.origin = (
        f"average of {len(states)} STL backbones, shares {', '.join(f'{s:g}' for s in shares)}; "
        f"BatchNorm statistics {words[unit.batch_norm]}"
    )
    return network


def _backbone_in(weights: Path) -> dict[str, torch.Tensor]:
    state = load_file(weights)
    return {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}


def write_outcome(
    unit: Unit, fitted: Fit, parts: Mapping[str, Samples], folder: Path, pictures: bool, keep_weights: bool
) -> dict[str, float]:
    """Weights, history, predictions and plots into `folder`; returns the figures "<role>_<task>_<metric>"."""
    if keep_weights:
        save_file({k: v.contiguous() for k, v in fitted.network.state_dict().items()}, folder / WEIGHTS)
    history = pd.DataFrame(fitted.history, index=pd.RangeIndex(1, len(fitted.history) + 1, name="epoch"))
    history.to_csv(folder / HISTORY, float_format="%.7g")
    figures: dict[str, float] = {"best_epoch": fitted.best_epoch, "epochs": len(fitted.history)}
    if pictures:
        plots.curves(fitted.history, fitted.best_epoch, folder / "curves.png")
    logits = {
        role: predict_views(fitted.network, parts[role], unit.training, unit.seed) for role in ("val", "test") if role in parts
    }
    for j, task in enumerate(by_name(unit.tasks)):
        known = {role: parts[role].known[:, j] for role in logits if parts[role].known[:, j].any()}
        truth = {role: parts[role].labels[mask, j] for role, mask in known.items()}
        rows = {role: logits[role][task.name][mask] for role, mask in known.items()}
        for role in known:
            films, patients = _whose(unit, role, known[role])
            answers = Predictions(films, truth[role], softmax(rows[role]), patients)
            metrics = evaluate(task, answers)
            wanted = metrics if role == "test" else {k: metrics[k] for k in HEADLINE if k in metrics}
            figures |= {f"{role}_{task.name}_{k}": v for k, v in wanted.items()}
            write_predictions(answers, rows[role], task.classes, folder / f"{role}-{task.name}.csv")
            if role == "test" and pictures:
                plots.outcome(task, answers, folder / f"{role}-{task.name}.png")
        if {"val", "test"} <= known.keys():
            honest = calibrated_figures(task, rows["val"], truth["val"], rows["test"], truth["test"])
            warm = [softmax(rows[role], honest["temperature"]) for role in ("val", "test")]
            honest |= conformal_figures(task, warm[0], truth["val"], warm[1], truth["test"])
            figures |= {f"test_{task.name}_{k}": v for k, v in honest.items()}
    return figures


def _whose(unit: Unit, role: str, mask: NDArray[np.bool_]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Digests of the films under the mask, and persons numbered from 0 in the order in which they come."""
    chosen = [sample for sample, wanted in zip(unit.part(role), mask, strict=True) if wanted]
    numbers: dict[int, int] = {}
    persons = [numbers.setdefault(sample.patient, len(numbers)) for sample in chosen]
    return tuple(sample.digest for sample in chosen), np.array(persons, dtype=np.int64)


def write_predictions(answers: Predictions, logits: NDArray[np.floating], classes: Sequence[str], path: Path) -> None:
    """CSV: film digest, number of the person within this set, true class index, logit and probability of each class."""
    columns = {f"logit_{name}": logits[:, i] for i, name in enumerate(classes)}
    columns |= {f"p_{name}": answers.probabilities[:, i] for i, name in enumerate(classes)}
    table = pd.DataFrame({"film": answers.films, "patient": answers.patients, "truth": answers.truth} | columns)
    table.to_csv(path, index=False, float_format="%.7g")
