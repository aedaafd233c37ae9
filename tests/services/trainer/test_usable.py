"""What starts units is asked about by one thread and imported by another."""

import subprocess
import sys

BEFORE_ANY_THREAD = """
import sys
from services.trainer.settings import Settings
from services.trainer.usable import executor_check

executor_check(Settings(executor="process"))
assert "docker" not in sys.modules, "only where containers are used"
executor_check(Settings(executor="container"))
assert "docker.types" in sys.modules
"""


def test_the_client_of_the_engine_is_imported_before_threads_run() -> None:
    """Imported by two threads at the same moment it came in halves, and a restarted service called its protocol failed."""
    done = subprocess.run([sys.executable, "-c", BEFORE_ANY_THREAD], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
