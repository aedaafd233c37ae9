"""benchmarks/prepare.md: every figure and every verdict computed from what was measured."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from benchmarks import page
from benchmarks.clock import Spent, middle
from benchmarks.page import Goal, table
from benchmarks.prepare.stages import Cost
from training.data.films.unet import REFERENCE, Measured, fastest

PACKAGES = ("numpy", "pillow", "scipy", "onnxruntime", "openvino", "opencv-python-headless", "pydicom", "torch")
PUBLISHED = 6293  # films of the paper's two data sets


class Figures(NamedTuple):
    """`runs`: (workers, copies) → what each run took; `usual`: side of the stored PNG → per film of the usual pipeline, each round;
    `opening` a store of PUBLISHED films."""

    files: int
    copies: int
    engines: Sequence[Measured]
    runs: Mapping[tuple[int, int], Sequence[Mapping[str, Any]]]
    usual: Mapping[int, Sequence[Spent]]
    costs: Mapping[str, Cost]
    cut: Mapping[str, Any]
    opening: Spent
    quick: bool

    @property
    def ceiling(self) -> float:
        """Milliseconds per film of all stages, each the fastest way with equal results."""
        return sum(cost.ceiling for cost in self.costs.values())

    def per_film(self, workers: int) -> tuple[float, float]:
        """Own CPU milliseconds of one film more, and seconds that a preparation takes before its first."""
        small, large = (median(run["cpu"] for run in self.runs[workers, copies]) for copies in (1, self.copies))
        more = (large - small) / (self.files * (self.copies - 1))
        return 1000 * more, small - more * self.files

    def wall(self, workers: int) -> float:
        """Wall milliseconds of one film more."""
        small, large = (median(run["wall"] for run in self.runs[workers, copies]) for copies in (1, self.copies))
        return 1000 * (large - small) / (self.files * (self.copies - 1))

    def published(self, workers: int) -> float:
        """Own CPU milliseconds per film of a cohort of PUBLISHED, start included."""
        more, start = self.per_film(workers)
        return more + 1000 * start / PUBLISHED

    def peak(self, copies: int) -> float:
        """MiB that the parent and the larger of two workers held at most."""
        return median(run["peak"] for run in self.runs[2, copies])


def blocks(given: Figures) -> list[str]:
    return [*_head(given), page.goals(_goals(given)), *_end_to_end(given), *_stages(given), *_engines(given)]


def _head(given: Figures) -> list[str]:
    return page.head(
        "Preparation: from files to the film store",
        "Own CPU time unless wall is said; contenders in turns, medians. Films are phantoms, a third each PNG 1024 px 8 bits, DICOM "
        f"2000 px 16 bits, JPEG 1024 px: {given.files} files, up to {given.copies} times each under other names. Films of 256 px.",
        PACKAGES,
        "one per process",
        given.quick,
    )


def _end_to_end(given: Figures) -> list[str]:
    rows = []
    for workers in (1, 2):
        more, start = given.per_film(workers)
        minutes = f"{given.published(workers) * PUBLISHED / 60000:.1f}"
        rows.append(
            (f"`mdmt prepare`, {workers} process(es)", f"{more:.1f}", f"{given.wall(workers):.1f}", f"{start:.1f}", minutes)
        )
    for side, rounds in given.usual.items():
        cpu, wall = (1000 * seconds for seconds in middle([*rounds]))
        minutes = f"{cpu * PUBLISHED / 60000:.1f}"
        rows.append((f"usual: Pillow, float window, eager torch, PNG of {side}", f"{cpu:.1f}", f"{wall:.1f}", "", minutes))
    header = ("contender", "CPU ms per film", "wall ms per film", "start, CPU s", f"CPU of {PUBLISHED:,} films, min")
    cut, opening = given.cut, given.opening
    films = given.files, given.files * given.copies
    return [
        "## End to end",
        "The cost of one film more is the difference of a long and a short run; starting processes is told apart. "
        f"No cohort of {PUBLISHED:,} films was prepared here: those minutes are the cost of one more times as many, and the start.",
        table(header, rows),
        f"kill -9 with {cut['ready']} of {cut['films']} films on the disk, then the same command: {cut['cpu']:.1f} CPU s for the rest "
        f"({cut['whole']:.1f} for all); the store is {'the same, slot by slot and byte by byte' if cut['same'] else 'ANOTHER'}.\n"
        f"Opening a store of {PUBLISHED:,} films, every file's size and time compared and the pixels mapped: {1000 * opening.wall:.0f} ms "
        f"by the clock, {1000 * opening.cpu:.0f} ms of CPU (medians).\n"
        f"Peak memory of the parent and the larger of two workers: {given.peak(1):.0f} MiB with {films[0]} films, "
        f"{given.peak(given.copies):.0f} MiB with {films[1]}.",
    ]


def _stages(given: Figures) -> list[str]:
    rows = [(name, f"{cost.own:.2f}", f"{cost.ceiling:.2f}", cost.by) for name, cost in given.costs.items()]
    own = sum(cost.own for cost in given.costs.values())
    alone = ", ".join(name for name, cost in given.costs.items() if cost.ceiling >= cost.own)
    return [
        "## Stages",
        table(
            ("stage", "product, ms", "ceiling, ms", "the ceiling is"), [*rows, ("sum", f"{own:.2f}", f"{given.ceiling:.2f}", "")]
        ),
        "A ceiling is the fastest way that was tried here and gives the same bytes; ways that give others do not count."
        + (f" Nothing faster was found for {alone}: there the product is its own ceiling." if alone else "")
        + f" That of the U-Net is the fastest engine of this run whose masks are all equal (below): {fastest(given.engines)}.",
    ]


def _engines(given: Figures) -> list[str]:
    rows = [(one.way, f"{one.milliseconds:.1f}", f"{one.equal} of {one.films}", f"{one.iou:.5f}") for one in given.engines]
    return [
        "## The U-Net",
        f"On the first {max((one.films for one in given.engines), default=0)} readable films, cleaned masks against {REFERENCE}. "
        f"Chosen: {fastest(given.engines)}, the fastest of those with every mask equal to the last pixel.",
        table(("engine and precision", "CPU ms", "masks equal", "lowest IoU"), rows),
    ]


def _goals(given: Figures) -> list[Goal]:
    published, opening = given.published(1), 1000 * given.opening.wall
    usual = 1000 * min(middle([*rounds]).cpu for rounds in given.usual.values())
    share, times = given.ceiling / published, usual / published
    growth, films = given.peak(given.copies) / given.peak(1), (given.files, given.files * given.copies)
    return [
        Goal(
            "≥ 0.9 of the sum of the stage ceilings",
            f"{share:.2f} ({given.ceiling:.1f} of {published:.1f} ms per film)",
            share >= 0.9,
        ),
        Goal("≥ 5 times the faster usual pipeline", f"{times:.2f} ({usual:.1f} against {published:.1f} ms per film)", times >= 5),
        Goal(f"below 50 ms to open {PUBLISHED:,} films", f"{opening:.0f} ms", opening < 50),
        Goal(f"memory flat: ≤ 1.1 times that of {films[0]} films with {films[1]}", f"{growth:.2f}", growth <= 1.1),
        Goal("goes on after kill -9", f"{given.cut['ready']} kept", given.cut["same"]),
    ]
