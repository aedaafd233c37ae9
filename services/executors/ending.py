"""What the end of a worker means, by its exit code as a shell counts it (128 + signal)."""

import signal
import subprocess

CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
LINES, LENGTH = 20, 4000


def cause_of(code: int, who: str, out_of_memory: bool = False) -> tuple[str, str]:
    """Kind (of `claims.KINDS`) and reason. `out_of_memory`: whoever runs it says that it was killed for its memory."""
    if out_of_memory:
        return "out-of-memory", f"{who} was killed: it needed more memory than it may have"
    if code - 128 in CRASHES:
        return "segfault", f"{who} crashed with {signal.Signals(code - 128).name}"
    if code == 128 + signal.SIGKILL:
        return "killed", f"{who} was killed (SIGKILL): out of memory, or by hand"
    return "exception", f"{who} ended with code {code}"


def last_lines(text: str) -> str:
    """The end of a log, for a message."""
    return "\n".join(text.strip().splitlines()[-LINES:])[-LENGTH:] or "it said nothing"


def end_softly(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """SIGTERM, and SIGKILL after so long; nothing when it has ended."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
