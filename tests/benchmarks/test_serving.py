"""What a variant changes is counted film by film; films are spread over all there are, and what cannot be read is left out; a contender's
memory is that of all its processes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.serving.contenders import Running
from benchmarks.serving.floor import Answer, Found, films_of
from cxr.prediction import TaskAnswer
from tests.serving.tiny_bundle import encoded, film


def answer(index: int, probability: float, digest: str = "same") -> Answer:
    lungs = np.ones((4, 4), bool)
    lungs[0] = digest == "same"
    rest = 1 - probability
    return Answer({"prognosis": TaskAnswer("MILD", index, (probability, rest), (index,))}, digest, lungs)


def test_a_variant_is_charged_with_labels_sets_crops_and_refusals() -> None:
    found = Found()
    found.add(answer(0, 0.75), answer(0, 0.75))
    assert (found.flipped, found.sets, found.cropped, found.refused, found.iou, found.change) == (0, 0, 0, 0, 1.0, 0.0)
    found.add(answer(0, 0.75), answer(1, 0.25, "other"))
    found.add(answer(0, 0.75), None)
    found.add(None, None)
    assert (found.flipped, found.sets, found.cropped, found.refused, found.iou, found.change) == (1, 1, 1, 1, 0.75, 0.5)


def test_films_are_spread_over_all_that_can_be_read(tmp_path: Path) -> None:
    for seed in range(10):
        (tmp_path / f"{seed}.png").write_bytes(encoded(film(seed=seed)))
    (tmp_path / "5.png").write_bytes(b"damaged")
    (tmp_path / "notes.txt").write_text("no film")
    assert [path.stem for path in films_of([tmp_path], 3)] == ["0", "3", "7"]
    assert len(films_of([tmp_path], 100)) == 9


def test_memory_counts_processes_that_were_started_with_a_bare_environment() -> None:
    token = f"{os.getpid()}-ours"
    hold = "held = b'x' * (40 << 20); print('ready', flush=True); input()"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}], env={{}}, start_new_session=True)"
    with subprocess.Popen(
        [sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"BENCH_TOKEN": token}
    ) as service:
        assert service.stdin is not None and service.stdout is not None
        assert service.stdout.readline() == b"ready\n"
        assert Running(0, 0.0, token).memory() > 40
        service.stdin.close()
    assert Running(0, 0.0, token).memory() == 0
