"""The connection to Ray: a cluster that runs, by its address, or a Ray of this machine that ends with this process."""

import atexit
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
from types import ModuleType
from typing import Any

from services.executors.executor import WorkersFail

# Before ray is imported. A Ray of this machine listens on all its addresses, so nobody gets in without a token that nobody knows.
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_AUTO_CONNECT": "0", "RAY_AUTH_MODE": "token"}
LOCAL_SETTINGS = {
    "RAY_worker_niceness": "0",  # by default its children run at 15, behind everything else on the machine
    # Any free port, so that two installations may share a machine.
    "AUTOSCALER_METRIC_PORT": "0",
    "DASHBOARD_METRIC_PORT": "0",
}
STORE_BYTES = 80 << 20  # the least that Ray accepts: units travel by file, not through its object store
ANSWER_SECONDS = 5.0


def connect(address: str | None, slots: int) -> ModuleType:
    """The module `ray`, connected. Raises WorkersFail when there is nobody at the address, or the token is wrong."""
    local = {"RAY_AUTH_TOKEN": secrets.token_hex(32), **LOCAL_SETTINGS} if address is None else {}
    for name, value in (SETTINGS | local).items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        return ray
    ours = signal.getsignal(signal.SIGTERM)  # Ray puts its own in the place
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init(
                "local", num_cpus=slots, include_dashboard=False, object_store_memory=STORE_BYTES, _temp_dir=_folder(), **options
            )
        else:
            _must_answer(address)
            ray.init(address, **options)
    except Exception as error:  # Ray raises bare ones too
        raise WorkersFail(
            f"no Ray at {address or 'this machine'}: {first_line(error)}. RAY_ADDRESS names a cluster that runs (auto or host:port on "
            "one of its machines, ray://host:10001 elsewhere), RAY_AUTH_TOKEN its token; without RAY_ADDRESS a Ray of this machine "
            "is started"
        ) from error
    finally:
        if signal.getsignal(signal.SIGTERM) is not ours:
            signal.signal(signal.SIGTERM, ours)
    return ray


def disconnect() -> None:
    """End the connection, and the Ray that was started for it."""
    import ray

    ray.shutdown()


def _folder() -> str:
    """For Ray's sockets and logs, gone with this process."""
    folder = tempfile.mkdtemp(prefix="ray-")

    def leave() -> None:
        disconnect()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(leave)
    return folder


def _must_answer(address: str) -> None:
    """Ray itself would ask for minutes, and end this process when nobody answers. Raises OSError."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()


def first_line(error: BaseException) -> str:
    """Ray's messages are pages."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
