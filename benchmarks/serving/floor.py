"""What lowers the floor, what it buys and what it costs: the bare pipeline in variants, on films, each beside float32.

    python -m benchmarks.serving.floor --bundle FOLDER --films FOLDER…    prints the section of benchmarks/serving.md

A trained bundle is needed: whether a label flips depends on what a network has learnt. Speed is that of two processes of one thread
that answer films in turn, variants in turn within every round. Films are only read; none is written anywhere.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.page import table
from benchmarks.serving import bare
from benchmarks.serving.report import rate
from benchmarks.serving.variants import VARIANTS, Predict, Work, quantised
from benchmarks.side_by_side import side_by_side
from cxr.close_calls import iou
from cxr.errors import FilmError
from cxr.graphs import Precision
from cxr.manifest import read_manifest
from cxr.precision import Proof
from cxr.prediction import TaskAnswer
from cxr.reading import SERVED, read, recognised
from training.precision import prove

FOUND = (".png", ".jpg", ".jpeg", ".dcm")
SPEED_FILMS = 40
LOWER: tuple[Precision, ...] = ("bfloat16", "int8")


class Answer(NamedTuple):
    """What is compared of a prediction; the film itself would fill the memory."""

    answers: Mapping[str, TaskAnswer]
    digest: str
    lungs: NDArray[np.bool_]


@dataclass
class Found:
    """What a variant changed on films, and films a second in every round."""

    rates: list[float] = field(default_factory=list)
    flipped: int = 0
    sets: int = 0
    cropped: int = 0
    refused: int = 0
    iou: float = 1.0
    change: float = 0.0

    def add(self, given: Answer | None, other: Answer | None) -> None:
        if given is None or other is None:
            self.refused += given is not other
            return
        pairs = [(answer, other.answers[name]) for name, answer in given.answers.items()]
        self.flipped += sum(a.index != b.index for a, b in pairs)
        self.sets += sum(a.candidates != b.candidates for a, b in pairs)
        self.cropped += given.digest != other.digest
        self.iou = min(self.iou, iou(given.lungs, other.lungs))
        changes = [abs(p - q) for a, b in pairs for p, q in zip(a.probabilities, b.probabilities, strict=True)]
        self.change = max(self.change, *changes)


def study(bundle: Path, films: Sequence[Path], rounds: int, seconds: float) -> tuple[dict[str, Found], dict[str, Proof]]:
    """Every variant on every film, then at speed on some of them; and what was proven of each lower precision."""
    with tempfile.TemporaryDirectory() as name:
        work = Work(bundle, Path(name))
        quantised(bundle, films, work.folder / "int8.onnx")
        proofs: dict[str, Proof] = {}
        for precision in LOWER:
            proofs[precision] = prove(bundle, films, "this study", precision, work.graph(precision))
            (work.folder / f"{precision}.json").write_text(proofs[precision].margins.model_dump_json())
        found = {title: Found() for title in VARIANTS}
        given: list[Answer | None] = []
        for title, make in VARIANTS.items():
            predict = make(work)
            answers = [_answered(predict, path) for path in films]
            given = given or answers
            for expected, other in zip(given, answers, strict=True):
                found[title].add(expected, other)
        timed = [path.resolve() for path in films[:: max(1, len(films) // SPEED_FILMS)][:SPEED_FILMS]]
        for _ in range(rounds):
            for number, title in enumerate(VARIANTS):
                arguments = ("--loop", number, bundle.resolve(), name, seconds, *timed)
                loops = [json.loads(told) for told in side_by_side("benchmarks.serving.floor", arguments, 2, {})]
                found[title].rates.append(rate(loops))
    return found, proofs


def _answered(predict: Predict, path: Path) -> Answer | None:
    try:
        found = predict(path.read_bytes())
    except FilmError:
        return None
    return Answer(found.answers, found.film.digest, found.film.lungs)


def section(bundle: Path, films: Sequence[Path], rounds: int = 2, seconds: float = 3) -> list[str]:
    """The study as blocks of Markdown."""
    found, proofs = study(bundle, films, rounds, seconds)
    manifest, first = read_manifest(bundle), next(iter(found.values())).rates
    rows = []
    for title, one in found.items():
        gain = median(rate / base for rate, base in zip(one.rates, first, strict=True))
        changed = (one.flipped, one.sets, one.cropped + one.refused, f"{one.iou:.4f}", f"{one.change:.4f}")
        rows.append((title, f"{median(one.rates):.1f}", f"{gain:.2f}", *changed))
    header = (
        "variant",
        "films/s",
        "× float32",
        "labels flipped",
        "conformal sets",
        "another crop",
        "lowest IoU",
        "largest change",
    )
    verdicts = [
        f"- U-Net in {precision}: {proof.rechecked:.1%} of the films are looked at again (margin {proof.margins.lungs:g}), "
        f"{proof.moved} would have moved: {'; '.join(proof.objections()) or 'may be served'}."
        for precision, proof in proofs.items()
    ]
    return [
        "## The floor on a trained network",
        f"{manifest.lineage.get('backbone', 'a backbone without a name')}, network at {manifest.pipeline.size} px, {len(films)} films, "
        "two processes of one thread, no HTTP. Changes are against float32, on all films.",
        table(header, rows),
        "\n".join(verdicts),
    ]


def films_of(folders: Sequence[Path], most: int) -> list[Path]:
    """Up to `most` films that the service reads, spread over all there are."""
    every = sorted(
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix.lower() in FOUND and "masks" not in path.parent.name
    )
    readable = []
    for path in every:
        data = path.read_bytes()
        with contextlib.suppress(FilmError):
            if recognised(data) in SERVED:
                read(data)
                readable.append(path)
    count = min(most, len(readable))
    return [readable[i * len(readable) // count] for i in range(count)]


def main() -> None:
    if sys.argv[1:2] == ["--loop"]:
        number, bundle, folder, seconds, *films = sys.argv[2:]
        predict = list(VARIANTS.values())[int(number)](Work(Path(bundle), Path(folder)))
        bare.loop(predict, [Path(film).read_bytes() for film in films], float(seconds))
        return
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, required=True)
    options.add_argument("--films", type=Path, nargs="+", required=True, help="folders")
    options.add_argument("--most", type=int, default=2000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=4)
    chosen = options.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    films = films_of(chosen.films, chosen.most)
    sys.stdout.write("\n\n".join(section(chosen.bundle, films, chosen.rounds, chosen.seconds)) + "\n")


if __name__ == "__main__":
    main()
