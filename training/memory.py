"""Large buffers that are used again: glibc gives freed ones back to the kernel, which clears every page when it is asked for anew.

And errors that tell of no memory, whoever raised them.
"""

import ctypes
import sys
from pathlib import Path

# Of <malloc.h>; arguments are C ints.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 256 * 2**20  # bytes of a buffer that is kept when it is freed: a film of 40 million pixels as float32 and room to spare


def keep_freed_buffers() -> bool:
    """Keep what this process frees for its next allocation; says whether the C library can (glibc: yes).

    For processes that allocate the same few large buffers over and over, film after film or step after step. Their memory stays at
    its highest point, which they come back to anyway.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and bool(mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, 2 * LARGEST))


def peak_resident() -> int:
    """Bytes of memory that this process held at most (Linux). getrusage would begin at those of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


def tells_of_no_memory(said: str) -> bool:
    """Whether an error, "type: message" as a traceback ends, is about memory: Python's, torch's on a host or on a GPU, cuBLAS's."""
    return (
        any(sign in said for sign in ("MemoryError", "can't allocate memory", "ALLOC_FAILED")) or "out of memory" in said.lower()
    )
