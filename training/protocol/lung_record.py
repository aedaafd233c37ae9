"""What the runs of lung U-Nets have kept: figures of every preset that was tried, graphs of kinds of lung that are not served."""

from pathlib import Path
from typing import NamedTuple

from mlflow.entities import Run

from training.data.lung_pairs import read_pairs
from training.protocol.lung_unet import PRESETS, fingerprint_of, slug
from training.tracking import Tracking


class Tried(NamedTuple):
    """A U-Net that was trained on pairs: its preset, the share of odd films among its training films, CPU seconds, and of the served
    kind of lung the best mean Dice of validation films and the mean and lowest Dice of held-out ones."""

    preset: str
    odd: float
    val: float
    test: float
    worst: float
    cpu_seconds: float


def tried(pairs_folder: Path, tracking: Tracking) -> list[Tried]:
    """Every preset that a U-Net was trained by on these pairs, as its run recorded it."""
    pairs, found = read_pairs(pairs_folder), []
    for preset, settings in ((name, make()) for name, make in PRESETS.items()):
        for run in tracking.runs(kind="segmenter", fingerprint=fingerprint_of(pairs, settings))[:1]:
            name, figures = slug(settings.definition), run.data.metrics
            val = max(point.value for point in tracking.client.get_metric_history(run.info.run_id, f"val_dice_{name}"))
            test, worst = (figures[f"test_dice_{name}_{of}"] for of in ("mean", "worst"))
            found.append(Tried(preset, settings.odd, val, test, worst, figures["cpu_seconds"]))
    return found


def graph_of(definition: str, pairs_folder: Path, preset: str, tracking: Tracking) -> Path | None:
    """The ONNX graph of a kind of lung that is learnt along and not served; None where the U-Net's run has kept none, as those
    before there was one. The U-Net must be trained."""
    run, name = _run_of(pairs_folder, preset, tracking), f"{slug(definition)}.onnx"
    kept = any(item.path == name for item in tracking.client.list_artifacts(run.info.run_id))
    return tracking.file_of(run, name) if kept else None


def recorded(definition: str, pairs_folder: Path, preset: str, tracking: Tracking) -> dict[str, float]:
    """What the run of the trained U-Net recorded of held-out films of a kind of lung: Dice "mean", "median", "worst", and "films"."""
    run = _run_of(pairs_folder, preset, tracking)
    return {of: run.data.metrics[f"test_dice_{slug(definition)}_{of}"] for of in ("mean", "median", "worst", "films")}


def _run_of(pairs_folder: Path, preset: str, tracking: Tracking) -> Run:
    return tracking.runs(kind="segmenter", fingerprint=fingerprint_of(read_pairs(pairs_folder), PRESETS[preset]()))[0]
