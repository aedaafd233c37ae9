"""`python -m benchmarks.evidence.run`: does the evidence fall where the disease is, and what does it cost? Writes benchmarks/evidence.md.

Where: phantoms with one diseased zone, answered by bundles (`--bundle FOLDER` for each; default: what the registry's alias points to).
Cost: the graph with the evidence asked for, the same graph not asked, and a graph exported without it, in turn, CPU time on one thread.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import page
from benchmarks.clock import Spent, interleaved, middle, ratio, spent
from benchmarks.evidence.zones import Localised, Zone, localised, zone_films
from benchmarks.page import ROOT, Goal, table
from cxr.bundle import Bundle
from cxr.engine import EVIDENCE
from cxr.evidence import WORSE
from cxr.graphs import EngineName, Graph, installed
from cxr.tasks import PROGNOSIS, SEVERITY
from services.environment import home, tracking
from serving.registry import registry_source
from serving.settings import Settings
from training.learning.network import create, export_onnx

OUTPUT = ROOT / "benchmarks" / "evidence.md"
SHARE_GOAL, COST_GOAL = 0.8, 0.02
BACKBONES, SIZE = ("mobilenet_v2", "densenet121"), 224
TASKS = (PROGNOSIS, SEVERITY)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.evidence.run", description=__doc__)
    options.add_argument("--bundle", type=Path, action="append", default=[], help="folder of a bundle")
    options.add_argument("--films", type=int, default=120)
    options.add_argument("--runs", type=int, default=60, help="of each graph, where it is timed")
    options.add_argument("--output", type=Path, default=OUTPUT)
    chosen = options.parse_args()
    zones = list(zone_films(chosen.films))
    (where, falls), (cost, cheap) = (
        _where([Bundle(folder) for folder in chosen.bundle] or [_registered()], zones),
        _cost(chosen.runs),
    )
    title, about = "Evidence: where it falls and what it costs", "CPU time is own time, of graphs in turn."
    head = page.head(title, about, ("torch", "onnxruntime", "openvino"), "one per graph")
    page.write(chosen.output, [*head, page.goals([*falls, cheap]), *where, *cost])
    sys.stdout.write(chosen.output.read_text())


def _where(bundles: list[Bundle], films: list[Zone]) -> tuple[list[str], list[Goal]]:
    blocks, goals = ["## Where"], []
    for bundle in bundles:
        name = f"{bundle.manifest.lineage.get('recipe')} ({bundle.digest[:12]})"
        if not bundle.engine.explains:
            blocks.append(f"Not measured: {name} was registered before evidence was exported. `mdmt register` makes a new one.")
            continue
        found = localised(bundle, films, SHARE_GOAL)
        spec = bundle.manifest.pipeline
        header = ("task", "what speaks for", "films", "silent", "mean share", "median share", f"at least {SHARE_GOAL:.0%}")
        blocks += [
            f"{len(films)} phantoms with one diseased zone, answered by bundle {name}: {bundle.manifest.lineage.get('backbone')}, films of "
            f"{spec.size} pixels, crop {spec.crop!r}. Share of the evidence on the side of the lung that has the zone, of the films where "
            "there is any; on the others nothing speaks for it (silent).",
            table(header, [_row(one) for one in found]),
        ]
        goals += [_goal(name, one) for one in found if one.question == WORSE]
    return blocks, goals


def _goal(bundle: str, one: Localised) -> Goal:
    what = f"{bundle}: at least {SHARE_GOAL:.0%} of the evidence for a worse {one.task} in the diseased lung"
    return Goal(what, f"{one.mean:.1%}", one.mean >= SHARE_GOAL)  # NaN is not


def _row(one: Localised) -> tuple[object, ...]:
    question = "a worse class" if one.question == WORSE else "the answer given"
    return one.task, question, one.films, one.silent, f"{one.mean:.1%}", f"{one.median:.1%}", one.hits


def _registered() -> Bundle:
    settings = Settings(tracking_uri=tracking().uri, cache_dir=home() / "bundles")
    return registry_source(settings).load().bundle


def _cost(runs: int) -> tuple[list[str], Goal]:
    rows, ratios = [], []
    for name in BACKBONES:
        for engine in installed():
            taken = _timed(name, engine, runs)
            ratios.append(ratio(taken["asked"], taken["without"]))  # run by run: neighbours share what else the machine does
            rows.append((name, engine, *(f"{1000 * middle(one).cpu:.2f}" for one in taken.values()), f"{ratios[-1]:.3f}"))
    header = ("backbone", "engine", "without evidence in the graph", "in the graph, not asked", "asked", "asked / without")
    blocks = [
        "## Cost",
        f"CPU milliseconds per film of {SIZE} pixels, median of {runs} runs in turn, one thread, float32.",
        table(header, rows),
    ]
    worst = max(ratios) - 1
    return blocks, Goal(f"evidence costs at most {COST_GOAL:.0%} of the graph", f"{worst:+.1%} at worst", worst <= COST_GOAL)


def _timed(backbone: str, engine: EngineName, runs: int) -> dict[str, list[Spent]]:
    network = create(backbone, "scratch", TASKS, hidden=128, dropout=0.5, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(network, SIZE, Path(folder) / "with.onnx")
        network.last_map = ""
        export_onnx(network, SIZE, Path(folder) / "without.onnx")
        full, plain = (Graph((Path(folder) / f"{name}.onnx").read_bytes(), engine) for name in ("with", "without"))
    film = {"film": np.random.default_rng(0).integers(0, 256, (1, 1, SIZE, SIZE), dtype=np.uint8)}
    logits = [task.name for task in TASKS]
    asked = [*logits, *(EVIDENCE + name for name in logits)]
    contenders = {
        "without": lambda: spent(lambda: plain.run(logits, film)),
        "not asked": lambda: spent(lambda: full.run(logits, film)),
        "asked": lambda: spent(lambda: full.run(asked, film)),
    }
    return interleaved(contenders, runs)


if __name__ == "__main__":
    main()
