"""Buffers that are freed and asked for again."""

import subprocess
import sys

SCRIPT = """
import resource, sys
import numpy as np
from training.memory import keep_freed_buffers
if sys.argv[1] == "kept":
    print(keep_freed_buffers())
else:
    print(True)
np.ones(2**24, np.uint8), np.ones(2**26, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2**24, np.uint8), np.ones(2**26, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    told = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True).stdout.split()
    assert told[0] == "True"
    return int(told[1])


def test_freed_buffers_are_used_again_without_new_pages() -> None:
    assert page_faults("kept") < page_faults("given back") / 10
