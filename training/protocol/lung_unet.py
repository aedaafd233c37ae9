"""The lung U-Net as a tracked, registered model: trained once per (pairs, settings), found again by fingerprint.

torch is imported only when one is trained: finding one takes no seconds.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from cxr.manifest import CARD
from training import runs
from training.data.lung_pairs import LungPair, read_pairs, split_pairs
from training.protocol.lung_card import lung_card
from training.protocol.recipe import RecipeError
from training.settings import SegmenterSettings
from training.tracking import Tracking

NAME, GRAPH = "lung-unet", "model.onnx"
REVISION = 2  # raise it when the same pairs and settings give another graph
PRESETS: dict[str, Callable[[], SegmenterSettings]] = {
    "demo": SegmenterSettings.demo,
    "real": SegmenterSettings.real,
    "real-lungs": SegmenterSettings.real_lungs,
    "smoke": lambda: SegmenterSettings.demo(epochs=6),
}
Progress = Callable[[int, int], None]  # epochs done, epochs in all


class LungUnet(NamedTuple):
    """A trained U-Net: its ONNX file on this machine, and the fingerprint it is registered under."""

    graph: Path
    fingerprint: str


class _Wanted(NamedTuple):
    """What a U-Net is to be trained on and how; making one hashes every film and mask."""

    pairs: Sequence[LungPair]
    settings: SegmenterSettings
    fingerprint: str


def ensure_segmenter(pairs_folder: Path, preset: str, tracking: Tracking, progress: Progress | None = None) -> LungUnet:
    """The U-Net for these pairs and this preset: the registered one, or trained, logged and registered now."""
    return _ensure(_wanted(pairs_folder, preset), tracking, progress)


def find_segmenter(pairs_folder: Path, preset: str, tracking: Tracking) -> LungUnet | None:
    """The same where it is trained already, so without torch; None where it is not."""
    wanted = _wanted(pairs_folder, preset)
    if not (_folder(wanted, tracking) / GRAPH).is_file() and _version(wanted, tracking) is None:
        return None
    return _ensure(wanted, tracking, None)


def _wanted(pairs_folder: Path, preset: str) -> _Wanted:
    settings, pairs = _settings(preset), read_pairs(pairs_folder)
    return _Wanted(pairs, settings, fingerprint_of(pairs, settings))


def _folder(wanted: _Wanted, tracking: Tracking) -> Path:
    return tracking.home / "segmenters" / wanted.fingerprint[:12]


def _version(wanted: _Wanted, tracking: Tracking) -> int | None:
    return tracking.version_with(NAME, "mdmt.fingerprint", wanted.fingerprint)


def _ensure(wanted: _Wanted, tracking: Tracking, progress: Progress | None) -> LungUnet:
    folder = _folder(wanted, tracking)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # a second runner waits, and finds it
        if not (folder / GRAPH).is_file():
            version = _version(wanted, tracking)
            if version is None:
                version = _train(*wanted, tracking, lambda epoch: progress and progress(epoch, wanted.settings.epochs))
            with tempfile.TemporaryDirectory(dir=folder.parent) as work:  # under its own name only when whole
                Path(tracking.download_version(NAME, version, Path(work) / "model")).rename(folder)
    return LungUnet(folder / GRAPH, wanted.fingerprint)


def registered_dice(fingerprint: str, tracking: Tracking) -> str:
    """Mean Dice on held-out pairs of the registered U-Net with this fingerprint, as text."""
    version = tracking.version_with(NAME, "mdmt.fingerprint", fingerprint)
    return tracking.client.get_model_version(NAME, str(version)).tags["mdmt.test_dice"] if version else "not registered"


def held_out(pairs_folder: Path, preset: str) -> tuple[LungPair, ...]:
    """The pairs that a U-Net of this preset has neither learnt from nor been chosen by."""
    return split_pairs(read_pairs(pairs_folder), _settings(preset).seed).test


def _settings(preset: str) -> SegmenterSettings:
    if preset not in PRESETS:
        raise RecipeError(f"unknown segmenter preset {preset!r}; known: {', '.join(PRESETS)}")
    return PRESETS[preset]()


def fingerprint_of(pairs: Sequence[LungPair], settings: SegmenterSettings) -> str:
    def content(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    rows = sorted([p.id, content(p.image), content(p.mask), p.patient, p.definition] for p in pairs)
    chosen = asdict(settings)
    if not settings.odd:
        del chosen["odd"]  # U-Nets from before there was a choice keep their fingerprint
    deciding = {"pairs": rows, "settings": chosen, "code": [REVISION, metadata.version("torch")]}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def _train(
    pairs: Sequence[LungPair],
    settings: SegmenterSettings,
    fingerprint: str,
    tracking: Tracking,
    progress: Callable[[int], object],
) -> int:
    from training import onnx_flavour
    from training.learning.segmenter import Epoch, export_onnx, train_segmenter

    tags = {"mdmt.kind": "segmenter", "mdmt.fingerprint": fingerprint, "mdmt.pairs": str(len(pairs))}
    experiment_id = tracking.experiment(NAME)
    cut_off = f"tags.`mdmt.fingerprint` = '{fingerprint}' and attributes.status = 'RUNNING'"
    for run in tracking.client.search_runs([experiment_id], cut_off):  # nobody else trains it: the lock is ours
        runs.close(tracking.client, run.info.run_id, "KILLED", "cut off; a later run went on from its last epoch")
    with (
        tempfile.TemporaryDirectory() as work,
        tracking.run(experiment_id, f"{NAME}-{fingerprint[:8]}", tags, asdict(settings)) as run,
    ):

        def each_epoch(epoch: Epoch) -> None:
            figures = {f"val_dice_{slug(name)}": value for name, value in epoch.dice.items()}
            run.log_epoch(epoch.number, {"train_loss": epoch.loss, **figures})
            progress(epoch.number + 1)

        desk = tracking.home / "segmenters" / f"{fingerprint[:12]}.training"
        result = train_segmenter(pairs, settings, each_epoch, desk, fingerprint)
        graph, folder, others, size = Path(work) / "graph.onnx", Path(work) / "model", Path(work) / "others", settings.size
        export_onnx(result, graph)
        others.mkdir()
        for definition in set(result.definitions) - {
            settings.definition
        }:  # not served, but held-out films of theirs are judged by them
            export_onnx(result, others / f"{slug(definition)}.onnx", definition)
        onnx_flavour.save(graph, folder, [("film", "float32", (-1, 1, size, size))], [("lungs", "float32", (-1, 1, size, size))])
        test = {definition: asdict(summary) for definition, summary in result.test.items()}
        best = result.best, result.history[result.best].dice[settings.definition]
        card = lung_card(NAME, fingerprint, pairs, settings, best, test, result.cpu_seconds)
        (folder / CARD).write_text(card, encoding="utf-8")
        figures = {f"test_dice_{slug(n)}_{k}": v for n, summary in test.items() for k, v in summary.items()}
        run.log_outcome({**figures, "cpu_seconds": result.cpu_seconds, "seconds": result.seconds}, others)
        version = tracking.register(
            run.run_id, folder, NAME, tags | {"mdmt.test_dice": f"{result.test[settings.definition].mean:.4f}"}
        )
    shutil.rmtree(desk, ignore_errors=True)
    return version


def slug(definition: str) -> str:
    """Definition → a name that MLflow takes for a metric."""
    return "_".join("".join(c if c.isalnum() else " " for c in definition).split())
