"""Whether the process that holds a claim still lives."""

import os
import signal
import subprocess
import sys

import pytest

from training.protocol.owner import is_gone, own_name


def name_of_another(code: str) -> tuple[subprocess.Popen[str], str]:
    """A process that says its name and then does what `code` says."""
    script = f"from training.protocol.owner import own_name; import sys; print(own_name(), flush=True)\n{code}"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_this_process_lives_under_a_name_that_stays_the_same() -> None:
    assert own_name() == own_name()
    assert not is_gone(own_name())
    assert f"/{os.getpid()}/" in own_name()


def test_a_process_is_gone_when_killed_also_before_anybody_has_waited_for_it() -> None:
    process, name = name_of_another("sys.stdin.read()")
    assert not is_gone(name)
    process.send_signal(signal.SIGSTOP)
    assert not is_gone(name)  # frozen is not dead: only its lease tells
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(name)  # a zombie
    process.wait()
    assert is_gone(name)


def test_a_number_given_out_again_is_another_process() -> None:
    machine, pid, started = own_name().rsplit("/", 2)
    assert is_gone(f"{machine}/{pid}/{int(started) - 1}")


@pytest.mark.parametrize("part", [0, 1, 2])
def test_nothing_is_said_of_other_machines_boots_and_containers(part: int) -> None:
    parts = own_name().split("/")
    parts[part] += "-other"
    parts[-1] = "1"
    assert not is_gone("/".join(parts))
