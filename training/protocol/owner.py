"""Who holds a claim: a process that can be told from every other, so that a dead one's claims need not wait for their lease to end."""

import os
import socket
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")


def own_name() -> str:
    """host/boot/process/its start: a process id alone is given out again after a restart, or in another container."""
    return f"{_machine()}/{os.getpid()}/{_started(os.getpid())}"


def is_gone(owner: str) -> bool:
    """Whether the owner is a process of this machine that no longer lives. False for other machines: only their lease tells."""
    machine, pid, started = owner.rsplit("/", 2)
    return machine == _machine() and _started(int(pid)) != started


def _machine() -> str:
    """Host, boot and process namespace: a container sees other process ids than its host."""
    boot = BOOT.read_text().strip()[:8] if BOOT.is_file() else "no-boot-id"
    space = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}/{boot}/{space.readlink() if space.is_symlink() else 'no-namespace'}"


def _started(pid: int) -> str:
    """Start of a process in clock ticks since boot; "gone" when there is none, or it is a zombie that nobody has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    return "gone" if fields[0] in "ZX" else fields[19]
