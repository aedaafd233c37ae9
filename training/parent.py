"""A process that ends with the one that started it, also when that is killed: nobody would hear of what it does."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """SIGKILL when the parent ends (Linux). Without effect in a container whose first process is this one, or its parent."""
    parent = os.getppid()
    if sys.platform == "linux" and parent > 1:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(0)
