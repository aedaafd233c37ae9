"""The limit: the pipeline in a loop, without HTTP. `python -m benchmarks.serving.bare FOLDER FILE THREADS SECONDS ENGINE PRECISION`.

One of those that run side by side; prints the milliseconds of every film and the CPU time that each took, as JSON.
"""

import json
import sys
import time
from pathlib import Path

from benchmarks.side_by_side import wait_for_the_others
from cxr.bundle import Bundle


def main() -> None:
    folder, file, threads, seconds, engine, precision = sys.argv[1:]
    bundle, data = Bundle(Path(folder), int(threads), engine, precision=precision), Path(file).read_bytes()
    for _ in range(3):
        bundle.predict(data)
    wait_for_the_others()
    times, cpu, start = [], time.process_time(), time.perf_counter()
    while time.perf_counter() - start < float(seconds):
        began = time.perf_counter()
        bundle.predict(data)
        times.append((time.perf_counter() - began) * 1000)
    spent = (time.process_time() - cpu) * 1000 / len(times)
    sys.stdout.write(json.dumps({"ms": times, "seconds": time.perf_counter() - start, "cpu_ms": spent}) + "\n")


if __name__ == "__main__":
    main()
