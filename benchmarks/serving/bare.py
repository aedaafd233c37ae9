"""The limit: the pipeline in a loop, without HTTP. `python -m benchmarks.serving.bare FOLDER FILE THREADS SECONDS ENGINE PRECISION`.

A loop prints a JSON line when warm, waits for a line, measures, prints the milliseconds of every film and the CPU time that each took.
"""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cxr.bundle import Bundle

ROOT = Path(__file__).parents[2]


def main() -> None:
    folder, file, threads, seconds, engine = sys.argv[1:]
    bundle = Bundle(Path(folder), int(threads), engine)
    loop(bundle.predict, [Path(file).read_bytes()], float(seconds))


def loop(predict: Callable[[bytes], object], films: Sequence[bytes], seconds: float) -> None:
    """Answer the films in turn for that long, in a process that `side_by_side` started."""
    for film in itertools.islice(itertools.cycle(films), max(3, len(films))):
        predict(film)
    sys.stdout.write('"warm"\n')
    sys.stdout.flush()
    sys.stdin.readline()
    times, cpu, start = [], time.process_time(), time.perf_counter()
    for film in itertools.cycle(films):
        began = time.perf_counter()
        predict(film)
        times.append((time.perf_counter() - began) * 1000)
        if time.perf_counter() - start >= seconds:
            break
    spent = (time.process_time() - cpu) * 1000 / len(times)
    sys.stdout.write(json.dumps({"ms": times, "seconds": time.perf_counter() - start, "cpu_ms": spent}) + "\n")


def side_by_side(arguments: Sequence[str], processes: int) -> list[dict[str, Any]]:
    """`python -m arguments`, that many times at once, all begun when all are warm; what each printed."""
    command = [sys.executable, "-m", *arguments]
    loops = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    for one in loops:
        assert one.stdout is not None
        one.stdout.readline()  # warm
    for one in loops:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    return [json.loads(one.communicate()[0]) for one in loops]


if __name__ == "__main__":
    main()
