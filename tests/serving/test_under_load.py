"""The real process under more than it can do: what is let in is answered, the rest is told so at once, and its end loses nothing."""

import http.client
import json
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import uvicorn

from serving import ending
from serving.app import create_app
from serving.settings import Settings
from tests.serving.tiny_bundle import encoded, film, loader

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
PROCESS = """
import json, sys
from pathlib import Path
from serving.server import serve
from serving.settings import Settings
from tests.serving.tiny_bundle import loader
settings = Settings(**json.loads(sys.argv[2]))
serve(settings, port=0, load_bundle=loader(Path(sys.argv[1])), listening=lambda url: print(url, flush=True))
"""
SMALL, LARGE = encoded(film()), encoded(film(size=1200), "JPEG")
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n\x89PNG"
Address = tuple[str, int]


class Answer:
    """Status, seconds from the first byte sent to the last byte read, and Retry-After; `status` 0: refused to connect, -1: lost."""

    def __init__(self, address: Address, film: bytes, path: str = "/predict") -> None:
        self.status, self.retry, started = 0, None, time.monotonic()
        connection = http.client.HTTPConnection(*address, timeout=60)
        try:
            connection.connect()
            self.status = -1
            connection.request("POST" if film else "GET", path, film or None, {"Content-Type": "image/png"} if film else {})
            answer = connection.getresponse()
            answer.read()
            self.status, self.retry = answer.status, answer.headers.get("Retry-After")
        except (ConnectionError, http.client.HTTPException, TimeoutError):
            pass
        finally:
            connection.close()
            self.seconds = time.monotonic() - started


@contextmanager
def process(bundle: Path, log: int = subprocess.DEVNULL, **settings: object) -> Iterator[tuple[subprocess.Popen[str], Address]]:
    """The service in a process of its own, ready, and where it listens; what it logs goes to `log`."""
    command = [sys.executable, "-c", PROCESS, str(bundle), json.dumps(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT) as service:
        try:
            assert service.stdout is not None
            parts = urlsplit(service.stdout.readline().strip())
            address = (str(parts.hostname), int(parts.port or 0))
            while Answer(address, b"", "/readyz").status != 200:
                time.sleep(0.02)
            yield service, address
        finally:
            service.kill()


def clients(n: int, address: Address, film: bytes, ended: threading.Event) -> list[list[Answer]]:
    """What each of `n` clients got, one request after the other until `ended` or nobody listens any more."""

    def ask() -> list[Answer]:
        answers: list[Answer] = []
        while not ended.is_set() and (not answers or answers[-1].status):
            answers.append(Answer(address, film))
        return answers

    with ThreadPoolExecutor(n) as pool:
        return [one.result() for one in [pool.submit(ask) for _ in range(n)]]


@pytest.mark.parametrize("begun", [HEAD, HEAD.replace(b"100000", b"900000") + bytes(300_000)], ids=["small", "large"])
def test_two_hundred_half_sent_uploads_harm_nobody(bundle_folder: Path, begun: bytes) -> None:
    with process(bundle_folder, body_idle_seconds=30) as (_, address), ExitStack() as open_ones:
        alone = statistics.median(Answer(address, SMALL).seconds for _ in range(10))
        for _ in range(200):
            half = open_ones.enter_context(socket.create_connection(address))
            half.sendall(begun)
        answers = [Answer(address, SMALL) for _ in range(40)]
        assert {answer.status for answer in answers} == {200}
        assert {Answer(address, b"", path).status for path in ("/livez", "/readyz", "/metrics")} == {200}
        assert statistics.median(answer.seconds for answer in answers) < 3 * alone + 0.05


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_two_hundred_half_sent_uploads_that_go_on_slowly_give_their_places_back_within_fifteen_seconds_of_the_time_limit(
    bundle_folder: Path, seconds: float
) -> None:
    with process(bundle_folder, body_idle_seconds=10, body_total_seconds=seconds) as (_, address), ExitStack() as open_ones:
        half = [open_ones.enter_context(socket.create_connection(address)) for _ in range(200)]
        started = time.monotonic()
        for one in half:
            one.sendall(HEAD)
        assert inside(address) >= 200
        while time.monotonic() < started + seconds - 1:  # never silent for as long as would end them
            time.sleep(0.5)
            for one in half:
                with suppress(OSError):  # a machine may be so busy that the limit was reached meanwhile
                    one.sendall(b"\x00")
            assert Answer(address, SMALL).status == 200
        while inside(address) > 0:
            assert time.monotonic() < started + seconds + 15
            time.sleep(0.2)
        print(f"all places free {time.monotonic() - started - seconds:.1f} s after the limit")  # noqa: T201 - shown with -s


def inside(address: Address) -> float:
    """Uploads that the service says it has in its places."""
    with urlopen(f"http://{address[0]}:{address[1]}/metrics", timeout=60) as page:
        lines = page.read().decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("mdmt_uploads_in_flight ")))


def resident(pid: int) -> int:
    """Bytes of memory that the process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))


def test_connections_that_begin_no_request_are_closed(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "SILENT_SECONDS", 1.0)
    with silently(bundle_folder) as address, ExitStack() as open_ones:
        silent = [open_ones.enter_context(socket.create_connection(address, timeout=30)) for _ in range(20)]
        for one in silent[:10]:
            one.sendall(b"POST /predict HT")
        assert [one.recv(1) for one in silent] == [b""] * 20
        assert Answer(address, SMALL).status == 200


@contextmanager
def silently(bundle: Path) -> Iterator[Address]:
    """The same server on a thread, so that a test can shorten its patience."""
    config = uvicorn.Config(create_app(Settings(), loader(bundle)), port=0, log_config=None)
    listener = config.bind_socket()
    server = ending.EndingServer(config, 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while Answer(listener.getsockname(), b"", "/readyz").status != 200:
        time.sleep(0.05)
    yield listener.getsockname()
    server.should_exit = True
    thread.join(20)


def overloaded(bundle: Path, seconds: float) -> tuple[list[Answer], list[Answer], list[int]]:
    """Answers and probes of health under five times the capacity, and the memory of the process in between."""
    with process(bundle, workers=1, queue=3) as (service, address), ThreadPoolExecutor(1) as pool:
        ended = threading.Event()
        load = pool.submit(clients, 20, address, LARGE, ended)
        time.sleep(0.2 * seconds)
        probes, memory, deadline = [], [], time.monotonic() + 0.8 * seconds
        while time.monotonic() < deadline:
            probes += [Answer(address, b"", path) for path in ("/livez", "/readyz")]
            memory.append(resident(service.pid))
            time.sleep(0.05)
        ended.set()
        return [answer for one in load.result() for answer in one], probes, memory


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_beyond_capacity_requests_are_answered_or_refused_at_once_and_health_goes_on(bundle_folder: Path, seconds: float) -> None:
    answers, probes, memory = overloaded(bundle_folder, seconds)
    accepted, refused = ([a for a in answers if (a.status == 200) is whether] for whether in (True, False))
    assert accepted and refused
    assert {answer.status for answer in refused} <= {429, 503}
    assert all(answer.retry for answer in refused)
    assert {probe.status for probe in probes} == {200}
    each = seconds / len(accepted)  # one worker: how long one film takes
    p99 = sorted(answer.seconds for answer in accepted)[int(0.99 * len(accepted))]
    said = statistics.median(answer.seconds for answer in refused)
    health = statistics.median(probe.seconds for probe in probes)
    print(  # noqa: T201 - shown with -s
        f"{len(accepted)} answered (p99 {p99 * 1000:.0f} ms, {each * 1000:.0f} ms each), {len(refused)} refused in "
        f"{said * 1000:.0f} ms, health in {health * 1000:.0f} ms, memory {memory[0] >> 20}-{max(memory) >> 20} MiB"
    )
    # Three times what is promised, and more where the machine is so busy that even /livez waits.
    assert health < 0.3 + 5 * min(probe.seconds for probe in probes)
    assert said < 0.15 + 3 * health
    assert p99 < 3 * (1 + 3) * each + 0.5
    assert max(memory) < 1.1 * memory[len(memory) // 4] + (
        (16 if seconds > 30 else 96) << 20
    )  # buffers are first made in the first seconds


# A round lasts until the half-sent upload has had its time: a quarter of a minute.
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_sigterm_under_load_loses_no_request_and_ends_with_code_0(bundle_folder: Path, rounds: int) -> None:
    for _ in range(rounds):
        with process(bundle_folder, body_idle_seconds=30) as (service, address), ThreadPoolExecutor(1) as pool:
            half = socket.create_connection(address)
            half.sendall(HEAD)
            load = pool.submit(clients, 8, address, SMALL, threading.Event())
            time.sleep(0.7)
            service.send_signal(signal.SIGTERM)
            told = time.monotonic()
            unready = 0
            while (status := Answer(address, b"", "/readyz").status) in (200, 503):
                unready = unready or (status == 503)
                time.sleep(0.05)
            assert service.wait(timeout=20) == 0
            ended = time.monotonic() - told
            half.close()
            statuses = [answer.status for one in load.result() for answer in one]
        assert ended < 20
        assert unready
        assert statuses.count(200) > 20
        assert set(statuses) <= {200, 0}, f"{statuses.count(-1)} of {len(statuses)} requests were lost"


def test_a_kept_connection_is_closed_with_its_last_answer_when_the_end_comes(bundle_folder: Path) -> None:
    with process(bundle_folder, farewell_seconds=3) as (service, address):
        connection = http.client.HTTPConnection(*address, timeout=10)
        closing = []
        for _ in range(2):
            connection.request("POST", "/predict", SMALL, {"Content-Type": "image/png"})
            answer = connection.getresponse()
            closing.append((answer.status, answer.will_close))
            answer.read()
            if len(closing) == 1:
                service.send_signal(signal.SIGTERM)
                time.sleep(0.3)
        assert closing == [(200, False), (200, True)]
        assert service.wait(timeout=20) == 0
