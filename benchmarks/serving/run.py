"""Our service beside its peers and beside the limit; writes benchmarks/serving.md. Generated films and seeded networks only.

    python -m benchmarks.serving.run            the standard form: all peers on mobilenet_v2 and JPEG, ours and the limit on the rest
    python -m benchmarks.serving.run --full     peers everywhere

Contenders take turns within every round; each ratio is taken within its round, the table shows medians over rounds.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import page, peers
from benchmarks.page import ROOT
from benchmarks.serving import bare, floor, load, overload, report, steps
from benchmarks.serving.contenders import MODULES, PACKAGES, PEERS, Missing, request, running
from benchmarks.serving.films import KINDS
from benchmarks.serving.made import made_films, networks_of
from benchmarks.serving.report import Bare, Cell, Measured, Results
from benchmarks.serving.service import chosen_engine

BACKBONES = ("mobilenet_v2", "densenet121")
CONCURRENCY = (1, 8, 32)
MAIN = Cell("mobilenet_v2", "product", "jpeg")
REFERENCE = MAIN._replace(unet="resnet18")  # the U-Net of published pipelines: what our own, lighter one buys
# The same bare pipeline on the main cell, two processes of one thread: engine and U-Net.
FLOORS = (("openvino", "product"), ("onnxruntime", "product"), ("openvino", "resnet18"))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--full", action="store_true", help="peers on every network and kind of film: an hour")
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--seconds", type=float, default=3, help="length of one window of load")
    options.add_argument("--peers", nargs="*", default=list(PEERS), help=f"of {', '.join(PEERS)}; none: only ours and the limit")
    options.add_argument(
        "--cells", type=int, default=len(BACKBONES) * len(KINDS), help="how many of the combinations, in their order"
    )
    options.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "serving.md")
    options.add_argument("--films", type=int, default=120, help="films that lower precisions are compared on")
    chosen = options.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by an exception, so that contenders are stopped
    began = time.monotonic()
    files = made_films()
    results = Results(rounds=chosen.rounds, window=chosen.seconds)
    if chosen.peers and (why := peers.environment(PACKAGES, MODULES)[1]):
        results.missing |= dict.fromkeys(chosen.peers, why)
    compared = [name for name in chosen.peers if name not in results.missing]
    for number in range(chosen.rounds):
        for cell in [Cell(backbone, "product", kind) for backbone in BACKBONES for kind in KINDS][: chosen.cells]:
            contenders = ["ours", *(compared if chosen.full or cell == MAIN else [])]
            _say(f"round {number + 1}: {cell.backbone}, {cell.kind}")
            one_round(cell, files[cell.kind], contenders, chosen.seconds, results)
            if cell == MAIN and (peer := report.best_peer(results, MAIN)):
                _say(f"round {number + 1}: the same with the U-Net on ResNet-18")
                one_round(REFERENCE, files[MAIN.kind], ["ours", peer], chosen.seconds, results)
        for engine, unet in FLOORS:
            loops = bare.loops(networks_of(MAIN.backbone, unet).bundle, files["jpeg"], chosen.seconds, engine, 1, 2)
            results.floors.setdefault((engine, unet), []).append(loops)
    network, asked = networks_of(MAIN.backbone, MAIN.unet), request("ours", MAIN.kind, files[MAIN.kind].read_bytes())
    _say("from the limit to the service")
    results.steps = steps.section(network, chosen_engine(network.bundle), files, chosen.rounds, chosen.seconds)
    with running("ours", network, asked) as server:
        results.overload = overload.measure(server.port, asked, server.memory, 4 * chosen.seconds)
    _say("the floor on a trained network")
    results.study = study(chosen.films)
    results.minutes = (time.monotonic() - began) / 60
    page.write(chosen.output, report.blocks(results))
    _say(f"{chosen.output} after {results.minutes:.1f} minutes")


def one_round(cell: Cell, file: Path, contenders: Sequence[str], seconds: float, results: Results) -> None:
    """The limit, then every contender, once."""
    networks = networks_of(cell.backbone, cell.unet)
    engine = chosen_engine(networks.bundle)
    wide, narrow = (bare.loops(networks.bundle, file, seconds, engine, *shape) for shape in ((2, 1), (1, 2)))
    results.bare.setdefault(cell, []).append(Bare(wide, narrow))
    for name in contenders:
        if name in results.missing:
            continue
        asked = request(name, cell.kind, file.read_bytes())
        try:
            with running(name, networks, asked) as server:
                load.run(server.port, asked, 2, 0.5)
                with server.watched() as memory:
                    loads = {c: load.run(server.port, asked, c, seconds) for c in CONCURRENCY}
                measured = Measured(loads, server.start, server.memory(), max(memory))
                results.measured.setdefault((cell, name), []).append(measured)
        except Missing as error:
            results.missing[name] = str(error)


def study(most: int) -> list[str]:
    """What lowers the floor, with the newest bundle that this clone has served, on the real films and phantoms that it finds."""
    bundles = sorted(ROOT.glob("state/bundles/*/bundle.json"), key=lambda path: path.stat().st_mtime)
    folders = [
        folder
        for folder in (ROOT.parent / "shared/data/real-cxr", ROOT / "data/real-cxr", ROOT / "state/phantom")
        if folder.is_dir()
    ]
    if not bundles or not folders:
        return ["Lower precisions were not compared: that takes a trained bundle and films, as `make demo` makes them."]
    return floor.section(bundles[-1].parent, floor.films_of(folders, most))


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
