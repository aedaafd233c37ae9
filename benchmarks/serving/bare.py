"""The limit: the pipeline in a loop, without HTTP. `python -m benchmarks.serving.bare FOLDER FILE THREADS SECONDS ENGINE`.

One of those that run side by side; prints the milliseconds of every film and the CPU time that each took, as JSON.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.side_by_side import wait_for_the_others
from cxr.bundle import Bundle


def main() -> None:
    folder, file, threads, seconds, engine = sys.argv[1:]
    bundle = Bundle(Path(folder), int(threads), engine)
    loop(bundle.predict, [Path(file).read_bytes()], float(seconds))


def loop(predict: Callable[[bytes], object], films: Sequence[bytes], seconds: float) -> None:
    """Answer the films in turn for that long, in a process that `side_by_side` started."""
    for film in itertools.islice(itertools.cycle(films), max(3, len(films))):
        predict(film)
    wait_for_the_others()
    times, cpu, start = [], time.process_time(), time.perf_counter()
    for film in itertools.cycle(films):
        began = time.perf_counter()
        predict(film)
        times.append((time.perf_counter() - began) * 1000)
        if time.perf_counter() - start >= seconds:
            break
    spent = (time.process_time() - cpu) * 1000 / len(times)
    sys.stdout.write(json.dumps({"ms": times, "seconds": time.perf_counter() - start, "cpu_ms": spent}) + "\n")


if __name__ == "__main__":
    main()
