"""What glibc's allocator keeps of freed memory, bounded. Other C libraries have neither function and are left alone."""

import ctypes

# mallopt(3)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
_MIB = 1 << 20


def keep_little(workers: int) -> None:
    """Buffers as large as a film are used again, and no more than that is kept.

    By itself glibc gives each thread an arena of its own and none of it back: films then cost as much memory once per thread. Each of
    the `workers` has one here, and all other threads share one: with fewer, threads that compute wait for each other, which costs a
    twentieth of the films per second. And glibc gives the buffers of large films back at once, to be asked for again, page by page,
    with the next film: half of what it takes the event loop to receive one. An arena of more than one heap does so with its last heap
    whenever that is empty, unless the one before has as little room as the padding: one start in five had a thread that asked for 1,370
    pages per film, and a tenth fewer films per second.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, workers + 1)
        mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)
        mallopt(_M_TRIM_THRESHOLD, 32 * _MIB)
        mallopt(_M_TOP_PAD, 32 * _MIB)


def give_back() -> None:
    """Return to the system what lies free: after loading a version, 24 MB of what its graphs were read through."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
