"""`python -m benchmarks.evidence.run`: does the evidence fall where the disease is, and what does it cost? Writes benchmarks/evidence.md.

Where: phantoms with one diseased zone, answered by a bundle (`--bundle FOLDER`, default: what the registry's alias points to).
Cost: the graph with the evidence asked for, the same graph not asked, and a graph exported without it, in turn, CPU time on one thread.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.evidence.zones import Localised, localised, zone_films
from cxr.bundle import Bundle
from cxr.engine import EVIDENCE
from cxr.evidence import WORSE
from cxr.graphs import Graph, installed
from cxr.tasks import PROGNOSIS, SEVERITY
from services.environment import home, tracking
from serving.registry import registry_source
from serving.settings import Settings
from training.learning.network import create, export_onnx

OUTPUT = Path(__file__).parents[1] / "evidence.md"
SHARE_GOAL, COST_GOAL = 0.8, 0.02
BACKBONES, SIZE = ("mobilenet_v2", "densenet121"), 224
TASKS = (PROGNOSIS, SEVERITY)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.evidence.run", description=__doc__)
    options.add_argument("--bundle", type=Path, help="folder of a bundle")
    options.add_argument("--films", type=int, default=120)
    options.add_argument("--runs", type=int, default=60, help="of each graph, where it is timed")
    options.add_argument("--output", type=Path, default=OUTPUT)
    chosen = options.parse_args()
    lines = [
        "# Evidence: where it falls and what it costs",
        "",
        f"`python -m benchmarks.evidence.run --films {chosen.films} --runs {chosen.runs}` on {platform.machine()}, {os.cpu_count()} "
        f"cores, Python {platform.python_version()}, onnxruntime {metadata.version('onnxruntime')}, openvino "
        f"{metadata.version('openvino')}. Research use only, not a medical device.",
        "",
        *_where(chosen.bundle, chosen.films),
        *_cost(chosen.runs),
    ]
    chosen.output.write_text("\n".join(lines))
    sys.stdout.write(chosen.output.read_text())


def _where(folder: Path | None, films: int) -> list[str]:
    bundle = Bundle(folder) if folder else _registered()
    lines = ["## Where", ""]
    if not bundle.engine.explains:
        return [
            *lines,
            "Not measured: this bundle was registered before evidence was exported. `mdmt register` makes a new one.",
            "",
        ]
    found = localised(bundle, list(zone_films(films)), SHARE_GOAL)
    lines += [
        f"{films} phantoms with one diseased zone, answered by bundle {bundle.digest[:12]} ({bundle.manifest.lineage.get('backbone')}, "
        f"films of {bundle.manifest.pipeline.size} pixels). Share of the evidence on the side of the lung that has the zone.",
        "",
        f"| task | what speaks for | films | silent | mean share | median share | at least {SHARE_GOAL:.0%} |",
        "|---|---|---|---|---|---|---|",
        *(_row(one) for one in found),
        "",
    ]
    for one in (one for one in found if one.question == WORSE):
        reached = "reached" if one.mean >= SHARE_GOAL else "NOT reached"  # NaN is not
        lines.append(
            f"- Goal: {SHARE_GOAL:.0%} of the evidence for a worse {one.task} in the diseased lung: {one.mean:.1%}, {reached}."
        )
    return [*lines, ""]


def _row(one: Localised) -> str:
    question = "a worse class" if one.question == WORSE else "the answer given"
    return f"| {one.task} | {question} | {one.films} | {one.silent} | {one.mean:.1%} | {one.median:.1%} | {one.hits} |"


def _registered() -> Bundle:
    settings = Settings(tracking_uri=tracking().uri, cache_dir=home() / "bundles")
    return registry_source(settings).load().bundle


def _cost(runs: int) -> list[str]:
    lines = [
        "## Cost",
        "",
        f"CPU milliseconds per film of {SIZE} pixels, median of {runs} runs in turn, one thread, float32.",
        "",
        "| backbone | engine | without evidence in the graph | in the graph, not asked | asked | asked / without |",
        "|---|---|---|---|---|---|",
    ]
    ratios = []
    for name in BACKBONES:
        for engine in installed():
            plain, silent, asked, ratio = _timed(name, engine, runs)
            lines.append(f"| {name} | {engine} | {plain:.2f} | {silent:.2f} | {asked:.2f} | {ratio:.3f} |")
            ratios.append(ratio)
    reached = "reached" if max(ratios) <= 1 + COST_GOAL else "NOT reached"
    return [*lines, "", f"- Goal: at most {COST_GOAL:.0%} of the graph: {max(ratios) - 1:+.1%} at worst, {reached}.", ""]


def _timed(backbone: str, engine: str, runs: int) -> tuple[float, float, float, float]:
    network = create(backbone, "scratch", TASKS, hidden=128, dropout=0.5, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(network, SIZE, Path(folder) / "with.onnx")
        network.last_map = ""
        export_onnx(network, SIZE, Path(folder) / "without.onnx")
        full, plain = (Graph((Path(folder) / f"{name}.onnx").read_bytes(), engine) for name in ("with", "without"))  # type: ignore[arg-type]
    film = np.random.default_rng(0).integers(0, 256, (1, 1, SIZE, SIZE), dtype=np.uint8)
    logits = [task.name for task in TASKS]
    contenders = ((plain, logits), (full, logits), (full, [*logits, *(EVIDENCE + name for name in logits)]))
    seconds: list[list[float]] = [[] for _ in contenders]
    for _ in range(runs):
        for spent, (graph, outputs) in zip(seconds, contenders, strict=True):
            began = time.process_time()
            graph.run(outputs, {"film": film})
            spent.append(time.process_time() - began)
    # Neighbours in time share what else the machine does, so the ratio is taken run by run.
    ratio = median(asked / plain for asked, plain in zip(seconds[2], seconds[0], strict=True))
    return *(1000 * median(spent) for spent in seconds), ratio  # type: ignore[return-value]


if __name__ == "__main__":
    main()
