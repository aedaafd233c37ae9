"""benchmarks/prepare.md: every figure and every verdict computed from what was measured."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from benchmarks import page
from benchmarks.page import Goal, table
from benchmarks.prepare.stages import Cost
from training.data.films.unet import REFERENCE, Measured, fastest

PACKAGES = ("numpy", "pillow", "scipy", "onnxruntime", "openvino", "opencv-python-headless", "pydicom", "torch")
PUBLISHED = 6293  # films of the paper's two data sets


class Figures(NamedTuple):
    """`runs`: (workers, copies) → what each run took; `usual` own CPU seconds per film of the usual pipeline."""

    files: int
    copies: int
    engines: Sequence[Measured]
    runs: Mapping[tuple[int, int], Sequence[Mapping[str, Any]]]
    usual: float
    costs: Mapping[str, Cost]
    cut: Mapping[str, Any]
    opening: float
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
    usual = 1000 * given.usual
    minutes = f"{usual * PUBLISHED / 60000:.1f}"
    rows.append(("usual: Pillow, float window, eager torch, PNG of 1024", f"{usual:.1f}", "", "", minutes))
    header = ("contender", "CPU ms per film", "wall ms per film", "start, CPU s", f"CPU of {PUBLISHED:,} films, min")
    cut = given.cut
    return [
        "## End to end",
        "The cost of one film more is the difference of a long and a short run; starting processes is told apart.",
        table(header, rows),
        f"kill -9 with {cut['ready']} of {cut['films']} films on the disk, then the same command: {cut['cpu']:.1f} CPU s for the rest "
        f"({cut['whole']:.1f} for all); the store is {'the same, film by film' if cut['same'] else 'ANOTHER'}.\n"
        f"Opening a store of {PUBLISHED:,} films, every file's size and time compared: {1000 * given.opening:.0f} ms.",
    ]


def _stages(given: Figures) -> list[str]:
    rows = [(name, f"{cost.own:.2f}", f"{cost.ceiling:.2f}", cost.by) for name, cost in given.costs.items()]
    own = sum(cost.own for cost in given.costs.values())
    return [
        "## Stages",
        table(
            ("stage", "product, ms", "ceiling, ms", "the ceiling is"), [*rows, ("sum", f"{own:.2f}", f"{given.ceiling:.2f}", "")]
        ),
        "A ceiling is the fastest way that was tried here and gives the same bytes; ways that give others do not count.",
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
    published, usual, opening = given.published(1), 1000 * given.usual, 1000 * given.opening
    share, times = given.ceiling / published, usual / published
    return [
        Goal(
            "≥ 0.9 of the sum of the stage ceilings",
            f"{share:.2f} ({given.ceiling:.1f} of {published:.1f} ms per film)",
            share >= 0.9,
        ),
        Goal("≥ 5 times the usual pipeline", f"{times:.2f} ({usual:.1f} against {published:.1f} ms per film)", times >= 5),
        Goal(f"below 50 ms to open {PUBLISHED:,} films", f"{opening:.0f} ms", opening < 50),
        Goal("goes on after kill -9", f"{given.cut['ready']} kept", given.cut["same"]),
    ]
