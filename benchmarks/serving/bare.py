"""The limit: the pipeline in a loop, without HTTP.

    python -m benchmarks.serving.bare FOLDER FILE SECONDS ENGINE THREADS CALLERS FILES_PER_DECODER

One of those that run side by side; prints the milliseconds of every film and the CPU time that each took, as JSON. CALLERS ask for a film
each, at once, in this process; FILES_PER_DECODER is that of `cxr.radiograph.Limits`, 0 for decoding here.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import side_by_side, wait_for_the_others
from cxr.bundle import Bundle
from cxr.reading import Limits


def loops(
    bundle: Path, file: Path, seconds: float, engine: str, threads: int, processes: int, callers: int = 1, apart: int = 0
) -> list[dict[str, Any]]:
    """`processes` loops at the same time, each on `threads` threads for each of its `callers`, with a decoding process for every `apart`
    files or none; what each printed."""
    arguments = (bundle, file, seconds, engine, threads, callers, apart)
    return [json.loads(told) for told in side_by_side("benchmarks.serving.bare", arguments, processes, {})]


def main() -> None:
    folder, file, seconds, engine, threads, callers, apart = sys.argv[1:]
    bundle, limits = Bundle(Path(folder), int(threads), engine, int(callers)), Limits(files_per_decoder=int(apart))
    loop(lambda film: bundle.predict(film, limits), [Path(file).read_bytes()], float(seconds), int(callers))


def loop(predict: Callable[[bytes], object], films: Sequence[bytes], seconds: float, callers: int = 1) -> None:
    """Answer the films in turn for that long, every caller all of them, in a process that `side_by_side` started."""
    for film in itertools.islice(itertools.cycle(films), max(3, len(films))):
        predict(film)
    wait_for_the_others()
    cpu, start = time.process_time(), time.perf_counter()

    def answered(_: int) -> list[float]:
        times = []
        for film in itertools.cycle(films):
            began = time.perf_counter()
            predict(film)
            times.append((time.perf_counter() - began) * 1000)
            if time.perf_counter() - start >= seconds:
                break
        return times

    with ThreadPoolExecutor(callers) as pool:
        times = [ms for each in pool.map(answered, range(callers)) for ms in each]
    spent = (time.process_time() - cpu) * 1000 / len(times)
    sys.stdout.write(json.dumps({"ms": times, "seconds": time.perf_counter() - start, "cpu_ms": spent}) + "\n")


if __name__ == "__main__":
    main()
