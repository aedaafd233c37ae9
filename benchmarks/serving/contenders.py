"""Who is compared: how each is started, what it is asked, and when it is gone for good."""

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.page import ROOT
from benchmarks.peers import ENVIRONMENT
from benchmarks.serving import load
from benchmarks.serving.films import TYPES

PEERS = ("fastapi", "mlflow", "litserve", "bentoml", "ray")
PACKAGES, MODULES = ("litserve", "bentoml", "ray[serve]"), ("litserve", "bentoml", "ray.serve")  # not of the project
BOUNDARY = "film"
START_SECONDS = 120
WATCH_SECONDS = 0.7  # it takes some milliseconds


class Missing(RuntimeError):
    """A contender that cannot be run here; the text says why."""


@dataclass(frozen=True)
class Networks:
    """What every contender computes; `bundle` holds it for ours."""

    backbone: str
    unet: str
    bundle: Path


def command(name: str, networks: Networks, port: int) -> list[str]:
    """What starts a contender on a port."""
    python = str(ENVIRONMENT / "bin" / "python")
    if name == "ours":
        return [sys.executable, "-m", "benchmarks.serving.service", str(networks.bundle), str(port)]
    if name == "mlflow":
        model = networks.bundle.parent / "mlflow-model"
        if not model.exists():
            subprocess.run(
                [python, "-m", "benchmarks.serving.peers.mlflow_model", str(model)], cwd=ROOT, check=True, capture_output=True
            )
        return [python, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local", "--port", str(port)]
    if name == "bentoml":
        serve = ["bentoml", "serve", "benchmarks.serving.peers.bento_app:Films", "--port", str(port)]
        return [python, "-m", *serve, "--host", "127.0.0.1"]
    return [python, "-m", f"benchmarks.serving.peers.{name}_app", str(port)]


def request(name: str, kind: str, data: bytes) -> load.Request:
    """One film as that contender takes it."""
    if name in ("ours", "ray"):
        return load.Request("/predict", data, TYPES[kind])
    if name == "litserve":
        return load.Request("/predict", json.dumps({"data": base64.b64encode(data).decode()}).encode(), "application/json")
    if name == "mlflow":
        rows = {"dataframe_split": {"columns": ["data"], "data": [[base64.b64encode(data).decode()]]}}
        return load.Request("/invocations", json.dumps(rows).encode(), "application/json")
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="film"\r\nContent-Type: {TYPES[kind]}\r\n\r\n'
    form = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    return load.Request("/predict", form, f"multipart/form-data; boundary={BOUNDARY}")


@dataclass(frozen=True)
class Running:
    """A contender that has answered once. `start` is the seconds from its start to that answer; `token` marks its processes."""

    port: int
    start: float
    token: str

    def memory(self) -> float:
        """Proportional set size in MiB of all its processes: shared pages count once."""
        return sum(_pss(pid) for pid in _marked(self.token))

    @contextmanager
    def watched(self) -> Iterator[list[float]]:
        """Its memory, again and again, for the length of a `with`."""
        seen, over = [self.memory()], threading.Event()

        def watch() -> None:
            while not over.wait(WATCH_SECONDS):
                seen.append(self.memory())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join()


def _marked(token: str) -> list[int]:
    """Processes with the token in their environment, and all below them: what decodes films is started with a bare environment."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and token.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    for pid in found:  # grows
        found += [child for child in _children(pid) if child not in found]
    return found


def _children(pid: int) -> list[int]:
    """Processes that any thread of `pid` has started; none where it has ended."""
    try:
        return [int(child) for listed in Path(f"/proc/{pid}/task").glob("*/children") for child in listed.read_text().split()]
    except OSError:
        return []


def _pss(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


@contextmanager
def running(name: str, networks: Networks, first: load.Request) -> Iterator[Running]:
    """Start it, wait for its first answer, stop all of it. Raises Missing when it never answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_BACKBONE": networks.backbone, "BENCH_UNET": networks.unet}
    token = f"{os.getpid()}-{name}-{port}"
    environment |= {
        "BENCH_TOKEN": token,
        "BENTOML_DO_NOT_TRACK": "True",
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    # `mlflow models serve` starts uvicorn by its name.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    if name != "ours":
        environment.pop("OMP_NUM_THREADS", None)  # as they come: torch takes what it finds
    arguments = command(name, networks, port)
    log = networks.bundle.parent / f"{name}.log"
    started = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            arguments, cwd=ROOT, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            _wait(process, name, port, first, log)
            yield Running(port, time.perf_counter() - started, token)
        finally:
            _stop(process, token)


def _wait(process: "subprocess.Popen[bytes]", name: str, port: int, first: load.Request, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Missing(f"{name} ended with code {process.returncode}: {_last(log)}")
        try:
            if load.once(port, first) == 200:
                return
        except (OSError, EOFError, TimeoutError, IndexError):
            pass
        time.sleep(0.02)
    raise Missing(f"{name} did not answer within {START_SECONDS} s: {_last(log)}")


def _last(log: Path) -> str:
    lines: Sequence[str] = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:160] if lines else "it said nothing"


def _stop(process: "subprocess.Popen[bytes]", token: str) -> None:
    """All of it: some contenders leave processes behind when only the first one is asked to end."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    while left := _marked(token):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
