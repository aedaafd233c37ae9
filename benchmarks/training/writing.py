"""The figures as Markdown. Whether a goal is reached is computed from them."""

from statistics import median
from typing import Any

from benchmarks import page, peers
from benchmarks.clock import middle, ratio
from benchmarks.page import Goal, table

HAND, STEP, FIT = "best step by hand", "own step", "own fit, end to end"
AUTHORS, JPEG, MEMMAP = "authors' style", "JPEG + transforms.v2", "memmap + transforms.v2"
OTHERS = ("lightning", "accelerate")  # in the environment of `benchmarks.peers`
WHY = """What bounds the goals that are not reached:

- Against other data paths: the step itself, which all share. The figure in brackets is that of a loop whose films cost nothing; where it
  is below the goal, no data path can reach the goal on this processor. Own figures may lie above it, because a worker keeps freed buffers
  (last section) and the loop of the others does not.
- Validation: a forward pass takes a third of a training step, so a third as many films take a tenth of the epoch in any loop.
- Checkpoint: the state of this network is a thousand small tensors, and torch needs some 30 ms of processor time to write them down. A
  thread does it beside the next steps, so it costs time only where no core is spare."""
PACKAGES = ("torch", "torchvision", "opencv-python-headless", *OTHERS)


def blocks(found: dict[str, Any], quick: bool, rounds: int) -> list[str]:
    return [
        *page.head(
            "The training loop, measured",
            f"Contenders in turn, {rounds} rounds, medians. Own processor time decides: other work on the machine lengthens wall-clock "
            "only. Films are made up and weights random; nothing ran on a GPU.",
            PACKAGES, "one per contender", quick, () if quick else (peers.site_packages(),),
        ),
        page.goals(goals_of(found)),
        WHY,
        "## Step and data path",
        "Milliseconds of own processor time per film (wall-clock in brackets). All compute in the fastest way, as \"auto\" would choose, "
        "but the authors' style, whose step is torch's default (float32, contiguous, unfused Adam).",
        *(contest(one) for one in found["contests"]),
        "## What a loop adds to a step",
        f"{found['missing']}." if found["missing"] else "",
        table(("loop", "ms per step"), [(name, f"{ms:+.3f}") for name, ms in found["loops"]["added"].items()]),
        f"On a network whose step takes {found['loops']['step']:.2f} ms.",
        "## Around the step",
        around(found),
    ]  # fmt: skip


def goals_of(found: dict[str, Any]) -> list[Goal]:
    goals: list[Goal] = []

    def at_least(what: str, value: float, wanted: float, remark: str = "") -> None:
        goals.append(Goal(f"{what} ≥ {wanted:g}", f"{value:.3g}{remark}", value >= wanted))

    def faster_than(other: str, wanted: float) -> None:
        """End to end; what films that cost nothing would give on this machine is said beside it."""
        most = f" (the step alone, films for nothing: {ratio(taken[other], taken[HAND]):.3g})"
        at_least(f"{name}end to end against {other}", ratio(taken[other], taken[FIT]), wanted, most)

    def at_most(what: str, value: float, wanted: float) -> None:
        goals.append(Goal(f"{what} ≤ {wanted:g}", f"{value:.3g}", value <= wanted))

    for one in found["contests"]:
        backbone, size, _, _ = one["case"]
        taken, name = one["taken"], f"{backbone} {size} px: "
        at_least(name + "own step, share of the best by hand", ratio(taken[HAND], taken[STEP]), 0.98)
        at_least(name + "end to end, share of that step", ratio(taken[STEP], taken[FIT]), 0.95)
        if size <= 96 and backbone != "mobilenet_v2":
            faster_than(AUTHORS, 3 if "resnet" in backbone else 10)
        if backbone.startswith("shufflenet"):
            faster_than(JPEG, 2)
            faster_than(MEMMAP, 1.5)
    widest = max(found["data"])
    at_most(f"data path at {widest} px, µs per film", middle(found["data"][widest]).cpu * 1e6, 150)
    at_most("different bits over batch sizes and threads", found["bits"], 1)
    at_most("the loop adds, ms per step", found["loops"]["added"]["this product"], 0.05)
    epoch = found["epoch"]
    whole = epoch["epoch"] + epoch["validation"] + epoch["extra"]
    at_most(
        "checkpoint, tracking and validation beyond its forward passes, % of a 9-step epoch",
        100 * (epoch["extra"] + epoch["beside"]) / whole, 2,
    )  # fmt: skip
    at_most(
        "the same with the forward passes of a third as many films, %",
        100 * (epoch["extra"] + epoch["beside"] + epoch["validation"]) / whole, 2,
    )  # fmt: skip
    for rate, share in found["device"].items():
        at_least(f"simulated device of {rate:,} films/s, share of its rate", share, 0.95 if rate == 1000 else 0.85)
    own, hand = (median(run[0] for run in found["memory"][who]) for who in ("fit", "hand"))
    at_most("peak memory beyond the data, per that of the step", (own - found["memory_case"][3]) / max(hand, 1), 1.2)
    return goals


def contest(one: dict[str, Any]) -> str:
    backbone, size, batch, _ = one["case"]
    ways = ", ".join(f"{way} {1000 * seconds:.2f}" for way, seconds in one["ways"].items())
    rows = [
        (name, f"{1000 * middle(rounds).cpu:.2f} ({1000 * middle(rounds).wall:.2f})", f"{ratio(rounds, one['taken'][HAND]):.2f}")
        for name, rounds in one["taken"].items()
    ]
    return f"### {backbone}, {size} px, batch {batch}\n\nStep by way, ms per film: {ways}. Chosen: {one['way']}.\n\n" + table(
        ("", "ms per film", "per best step"), rows
    )


def around(found: dict[str, Any]) -> str:
    epoch, (size, batch) = found["epoch"], found["epoch_case"]
    memory, (shown, wide, films, data) = found["memory"], found["memory_case"]
    lines = [
        "- Data path, µs per film: "
        + ", ".join(f"{s} px {middle(r).cpu * 1e6:.0f}" for s, r in sorted(found["data"].items()))
        + "."
    ]
    lines.append(
        f"- Epoch of nine steps (shufflenet_v2_x0_5, {size} px, batch {batch}): {epoch['epoch']:.2f} s of steps, {epoch['validation']:.3f} "
        f"s of forward passes over a third as many films, {epoch['extra'] * 1000:.1f} ms of anything else between epochs, "
        f"{epoch['beside'] * 1000:.1f} ms of processor time beside them in threads (checkpoint file, MLflow)."
    )
    for who, runs in memory.items():
        lines.append(
            f"- Peak memory, {shown} {wide} px batch {films}, {'`fit`' if who == 'fit' else 'step by hand'}: "
            f"{median(r[0] for r in runs):.0f} MiB above the imports"
            + (f", {data:.1f} MiB of it films." if who == "fit" else ".")
        )
    for backbone, cases in found.get("kept", {}).items():
        plain, kept = ([run[1] for run in cases[name]] for name in ("given-back", "kept"))
        faults = [median(run[2] for run in cases[name]) for name in ("given-back", "kept")]
        lines.append(
            f"- Freed buffers kept, as in a worker, and not given back to the kernel ({backbone}, 96 px): processor time "
            f"{median(kept) / median(plain):.3f} of the default's, "
            f"{faults[1]:.0f} page faults per film in place of {faults[0]:.0f}."
        )
    if stacked := found.get("stacked"):
        gains = ", ".join(f"{folds} folds {gain:.2f}×" for folds, gain in stacked.items())
        verdict = "a gain" if min(stacked.values()) > 1.05 else "no gain, so units train one by one"
        lines.append(f"- Folds of one backbone at once (shufflenet_v2_x0_5, 96 px, stacked weights): {gains}: {verdict}.")
    return "\n".join(lines)
