"""The figures as Markdown. Whether a goal is reached is computed from them."""

from statistics import median
from typing import Any

from benchmarks import page, peers
from benchmarks.clock import Spent, middle, ratio
from benchmarks.page import Goal, table
from benchmarks.training.contenders import GIVEN_BACK
from benchmarks.training.epoch import BESIDE, BETWEEN, EVALUATION, FORWARD
from training.learning.calibration import WAYS

KEPT, STEP, FIT = "step by hand, buffers kept", "own step", "own fit, end to end"
HANDS = (KEPT, GIVEN_BACK)
AUTHORS, JPEG, MEMMAP = "authors' style", "JPEG + transforms.v2", "memmap + transforms.v2"
OTHERS = ("lightning", "accelerate")  # in the environment of `benchmarks.peers`
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
        bounds(found),
        "## Step and data path",
        'Milliseconds of own processor time per film (wall-clock in brackets). All compute in the fastest way, as "auto" would choose, '
        "but the authors' style, whose step is torch's default (float32, contiguous, unfused Adam). "
        '"End to end" is `fit` without validation, checkpoint and tracking, which the last section adds. The best step by hand is the '
        "faster of two: in a process that keeps freed buffers, as a worker does, and in one that gives them back.",
        *(contest(one) for one in found["contests"]),
        "## The way that recipes take",
        ways(found["contests"]),
        "## What a loop adds to a step",
        f"{found['missing']}." if found["missing"] else "",
        table(("loop", "ms per step"), [(name, f"{ms:+.3f}") for name, ms in found["loops"]["added"].items()]),
        f"On a network whose step takes {found['loops']['step']:.2f} ms. \"Its thread and its lease\": batches come from the thread that "
        "prepares ahead, and before each the lease of a claim is checked, as a worker does; the goal is on the loop alone.",
        "## Around the step",
        around(found),
    ]  # fmt: skip


def goals_of(found: dict[str, Any]) -> list[Goal]:
    goals: list[Goal] = []

    def at_least(what: str, value: float, wanted: float, remark: str = "") -> None:
        goals.append(Goal(f"{what} ≥ {wanted:g}", f"{value:.3g}{remark}", value >= wanted))

    def faster_than(other: str, wanted: float) -> None:
        """End to end; what films that cost nothing would give on this machine is said beside it."""
        most = f" (the step alone, films for nothing: {ratio(taken[other], best_by_hand(taken)):.3g})"
        at_least(f"{name}end to end against {other}", ratio(taken[other], taken[FIT]), wanted, most)

    def at_most(what: str, value: float, wanted: float) -> None:
        goals.append(Goal(f"{what} ≤ {wanted:g}", f"{value:.3g}", value <= wanted))

    for one in found["contests"]:
        backbone, size, _, _ = one["case"]
        taken, name = one["taken"], f"{backbone} {size} px: "
        at_least(name + "own step, share of the best by hand", ratio(best_by_hand(taken), taken[STEP]), 0.98)
        at_least(name + "end to end, share of that step", ratio(taken[STEP], taken[FIT]), 0.95)
        if size <= 96 and backbone != "mobilenet_v2":
            faster_than(AUTHORS, 3 if "resnet" in backbone else 10)
        if backbone.startswith("shufflenet"):
            faster_than(JPEG, 2)
            faster_than(MEMMAP, 1.5)
    widest = max(found["data"])
    at_most(f"data path at {widest} px, µs per film", middle(found["data"][widest]).cpu * 1e6, 150)
    at_most("different bits over batch sizes, orders and threads", found["bits"], 1)
    at_most("the loop adds, ms per step", found["loops"]["added"]["this product"], 0.05)
    bare, all_in = surplus(found["epoch"])
    at_most("checkpoint, tracking and validation beyond its forward passes, % of a 9-step epoch", 100 * bare, 2)
    at_most("the same with the forward passes of a third as many films, %", 100 * all_in, 2)
    for rate, share in found["device"].items():
        at_least(f"simulated device of {rate:,} films/s, share of its rate", share, 0.95 if rate == 1000 else 0.85)
    own, hand = (median(run[0] for run in found["memory"][who]) for who in ("fit", "hand"))
    at_most("peak memory beyond the data, per that of the step", (own - found["memory_case"][3]) / max(hand, 1), 1.2)
    return goals


def best_by_hand(taken: dict[str, list[Spent]]) -> list[Spent]:
    """The rounds of the faster loop by hand."""
    return min((taken[name] for name in HANDS), key=lambda rounds: middle(rounds).cpu)


def surplus(epoch: dict[str, Any]) -> tuple[float, float]:
    """Share of a whole epoch that is beside its steps: time between epochs and threads' processor time, without and with validation's
    forward passes."""
    forward = epoch["parts"][FORWARD].wall
    between = max(0.0, epoch["whole"].wall - epoch["steps"] - forward)
    beside = sum(epoch["parts"][part].cpu for part in BESIDE)
    return (between + beside) / epoch["whole"].wall, (between + beside + forward) / epoch["whole"].wall


def bounds(found: dict[str, Any]) -> str:
    """What keeps goals from being reached, as far as this run has measured it; nothing where all are."""
    goals, epoch = goals_of(found), found["epoch"]
    lines = []
    if any(not goal.reached and " against " in goal.wanted for goal in goals):
        lines.append(
            "- Against other data paths: in brackets is what a loop would reach whose films cost nothing. Where that is below the goal, "
            "the step, which all share, keeps every data path from it here."
        )
    if any(not goal.reached and "epoch" in goal.wanted for goal in goals):
        largest = max(BESIDE, key=lambda part: epoch["parts"][part].cpu)
        seconds, share = epoch["parts"][largest].cpu, epoch["parts"][largest].cpu / epoch["whole"].wall
        lines.append(
            f"- An epoch of nine steps: what costs most beside its steps and validation is the {largest}, {1000 * seconds:.1f} ms of a "
            f"thread's processor time, {100 * share:.1f} % of the epoch."
        )
    if any(not goal.reached and "forward passes of a third" in goal.wanted for goal in goals):
        share = epoch["parts"][FORWARD].wall / epoch["whole"].wall
        lines.append(f"- Validation: forward passes over a third as many films take {100 * share:.1f} % of the epoch.")
    return "\n".join(["What bounds the goals that are not reached, as measured:", "", *lines]) if lines else ""


def ways(contests: list[dict[str, Any]]) -> str:
    default = WAYS[0]
    rows = [
        (f"{backbone}, {size} px", f"{1000 * one['ways'][default]:.2f}", str(one["way"]), f"{1000 * one['ways'][one['way']]:.2f}",
         f"{one['ways'][default] / one['ways'][one['way']]:.2f}×")
        for one in contests for backbone, size, *_ in [one["case"]]
    ]  # fmt: skip
    header = ("step of", f"default, {default}, ms per film", '`precision: "auto"` takes', "ms per film", "gain")
    return (
        table(header, rows) + "\n\nRecipes that come with the project train in the default way. "
        '`training.precision` set to `"auto"` in a recipe takes the way that is measured fastest where its units are trained, once per '
        "home, and notes it on every run (`mdmt.way`)."
    )


def contest(one: dict[str, Any]) -> str:
    backbone, size, batch, _ = one["case"]
    best = best_by_hand(one["taken"])
    ways = ", ".join(f"{way} {1000 * seconds:.2f}" for way, seconds in one["ways"].items())
    rows = [
        (name, f"{1000 * middle(rounds).cpu:.2f} ({1000 * middle(rounds).wall:.2f})", f"{ratio(rounds, best):.2f}")
        for name, rounds in one["taken"].items()
    ]
    return f"### {backbone}, {size} px, batch {batch}\n\nStep by way, ms per film: {ways}. Chosen: {one['way']}.\n\n" + table(
        ("", "ms per film", "per best step"), rows
    )


def around(found: dict[str, Any]) -> str:
    memory, (shown, wide, films, data) = found["memory"], found["memory_case"]
    lines = [
        "- Data path, µs per film, from a store twice as large as the processor's cache: "
        + ", ".join(f"{s} px {middle(r).cpu * 1e6:.0f}" for s, r in sorted(found["data"].items()))
        + ". Its bits are compared above for batch sizes, orders and threads; that they are equal with a thread that prepares ahead, with "
        "several processes and after a resume is in `tests/training/learning/test_feeding.py`, `test_distributed.py` and "
        "`test_resume.py`, and once more for orders and threads in `tests/training/data/test_warps.py`."
    ]
    lines.append(whole_epoch(found["epoch"], *found["epoch_case"]))
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
        lines.append(
            "- Folds of one backbone at once (shufflenet_v2_x0_5 alone, 96 px, batch 16, stacked weights, BatchNorm without running "
            f"statistics in both contenders, because vmap cannot change them): {gains}: {verdict}."
        )
    if told := found.get("compiled"):
        made = told if isinstance(told, str) else f"{told[0]:.0f} s of compiling, then {told[1]:.2f} of the step's processor time"
        lines.append(
            f'- torch.compile on this CPU (shufflenet_v2_x0_5, 96 px, batch 64): {made}. It is no way of `"auto"`, and `compile` is '
            "refused without a GPU."
        )
    return "\n".join(lines)


def whole_epoch(epoch: dict[str, Any], size: int, batch: int) -> str:
    """The case with all that a unit's epoch has, and its parts."""
    films, whole = 9 * batch, epoch["whole"]
    parts = [
        (part, f"{1000 * epoch['parts'][part].wall:.1f}", f"{1000 * epoch['parts'][part].cpu:.1f}", where)
        for names, where in (((FORWARD, EVALUATION, *BETWEEN), "between"), (BESIDE, "beside, in a thread"))
        for part in names
    ]
    rest = ("anything else between epochs", f"{1000 * epoch['rest']:.1f}", "", "between")
    return (
        f"- Epoch of nine steps with validation, checkpoint and tracking on (shufflenet_v2_x0_5, {size} px, batch {batch}, a third as many "
        f"films validate, MLflow in SQLite): {1000 * whole.wall / films:.2f} ms per film by the clock and {1000 * whole.cpu / films:.2f} "
        f"of processor time, of which the steps {1000 * epoch['steps'] / films:.2f} by the clock. Each part, once per epoch:\n\n"
        + table(("part", "wall, ms", "CPU of its thread, ms", "the steps"), [*parts, rest])
        + "\n"
    )
