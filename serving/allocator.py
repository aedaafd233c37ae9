"""What glibc's allocator keeps of freed memory, bounded. Other C libraries have neither function and are left alone."""

import ctypes

_M_ARENA_MAX = -8  # mallopt(3)


def few_arenas() -> None:
    """glibc gives each thread an arena of its own and none of it back: films of a few megabytes then cost as much once per thread."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


def give_back() -> None:
    """Return to the system what lies free: after loading a version, 24 MB of what its graphs were read through."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
