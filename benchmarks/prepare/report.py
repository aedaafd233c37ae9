"""benchmarks/prepare.md: every figure and every verdict computed from what was measured."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.prepare.stages import Cost
from training.data.films.unet import Measured, fastest

PACKAGES = ("numpy", "pillow", "scipy", "onnxruntime", "openvino", "opencv-python-headless", "pydicom", "torch")
PUBLISHED = 6293


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


def write(path: Path, given: Figures) -> None:
    path.write_text("\n".join([*_head(given), *_end_to_end(given), *_stages(given), *_engines(given), *_goals(given)]) + "\n")


def _head(given: Figures) -> list[str]:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return [
        "# Preparation: from files to the film store",
        "",
        f"Written by `make bench-prepare`{' (quick form: too short to be quoted)' if given.quick else ''}. {_processor()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; Python {platform.python_version()}, {versions}. "
        "One thread per process. Own CPU time unless wall is said; contenders in turns, medians. Films are phantoms, a third each "
        f"PNG 1024 px 8 bits, DICOM 2000 px 16 bits, JPEG 1024 px: {given.files} files, up to {given.copies} times each under other "
        "names. Films of 256 px.",
        "",
    ]


def _end_to_end(given: Figures) -> list[str]:
    lines = [
        "## End to end",
        "",
        "The cost of one film more is the difference of a long and a short run; starting processes is told apart.",
        "",
        "| contender | CPU ms per film | wall ms per film | start, CPU s | CPU of 6,293 films, min |",
        "|---|---|---|---|---|",
    ]
    for workers in (1, 2):
        more, start = given.per_film(workers)
        whole = given.published(workers) * PUBLISHED / 60000
        lines.append(
            f"| `mdmt prepare`, {workers} process(es) | {more:.1f} | {given.wall(workers):.1f} | {start:.1f} | {whole:.1f} |"
        )
    usual = 1000 * given.usual
    lines.append(f"| usual: Pillow, float window, eager torch, PNG of 1024 | {usual:.1f} | | | {usual * PUBLISHED / 60000:.1f} |")
    cut = given.cut
    return [
        *lines,
        "",
        f"kill -9 with {cut['ready']} of {cut['films']} films on the disk, then the same command: {cut['cpu']:.1f} CPU s for the rest "
        f"({cut['whole']:.1f} for all); the store is {'the same, film by film' if cut['same'] else 'ANOTHER'}.",
        f"Opening a store of 6,293 films, every file's size and time compared: {1000 * given.opening:.0f} ms.",
        "",
    ]


def _stages(given: Figures) -> list[str]:
    lines = ["## Stages", "", "| stage | product, ms | ceiling, ms | the ceiling is |", "|---|---|---|---|"]
    lines += [f"| {name} | {cost.own:.2f} | {cost.ceiling:.2f} | {cost.by} |" for name, cost in given.costs.items()]
    own = sum(cost.own for cost in given.costs.values())
    return [
        *lines,
        f"| sum | {own:.2f} | {given.ceiling:.2f} | |",
        "",
        "A ceiling is the fastest way that was tried here and gives the same bytes; ways that give others do not count.",
        "",
    ]


def _engines(given: Figures) -> list[str]:
    lines = [
        "## The U-Net",
        "",
        f"On the first {max((one.films for one in given.engines), default=0)} readable films, cleaned masks against float32 on ONNX "
        f"Runtime. Chosen: {fastest(given.engines)}, the fastest of those with every mask equal to the last pixel.",
        "",
        "| engine and precision | CPU ms | masks equal | lowest IoU |",
        "|---|---|---|---|",
    ]
    lines += [f"| {one.way} | {one.milliseconds:.1f} | {one.equal} of {one.films} | {one.iou:.5f} |" for one in given.engines]
    return [*lines, ""]


def _goals(given: Figures) -> list[str]:
    published = given.published(1)
    goals = [
        (
            "of the sum of the stage ceilings",
            given.ceiling / published,
            0.9,
            f"{given.ceiling:.1f} of {published:.1f} ms per film",
        ),
        (
            "times the usual pipeline",
            1000 * given.usual / published,
            5,
            f"{1000 * given.usual:.1f} against {published:.1f} ms per film",
        ),
        ("of 50 ms to open 6,293 films", given.opening / 0.05, None, f"{1000 * given.opening:.0f} ms"),
    ]
    lines = ["## Goals", "", "| goal | found | |", "|---|---|---|"]
    for name, found, least, how in goals:
        reached = found < 1 if least is None else found >= least
        wanted = "below 1" if least is None else f"≥ {least:g}"
        lines.append(f"| {wanted} {name} | {found:.2f} ({how}) | {'reached' if reached else 'not reached'} |")
    lines.append(f"| goes on after kill -9 | {given.cut['ready']} kept | {'reached' if given.cut['same'] else 'not reached'} |")
    return [*lines, "", "Research use only, not a medical device."]


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
