"""Bombs at the door of the real process: refused at once and in little memory, and the films beside them are answered."""

import io
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from tests.cxr.bombs import BOMBS, j2k_of_size, jpeg_of_size
from tests.cxr.dicoms import dicom, encapsulated, phantom
from tests.serving.test_under_load import SMALL, Address, Answer, clients, process, resident

SECONDS, MEBIBYTES = 0.2, 32  # beyond the transfer; of all processes together
MIB = 1024 * 1024
CRASHERS = sorted((Path(__file__).parents[1] / "crashers").glob("*.dcm"))
EMPTY = encapsulated(j2k_of_size(6_300, 6_300), JPEG2000Lossless, 6_300, 6_300)  # gets as far as a child, which fails
MEASURED: dict[str, Callable[[], bytes]] = {name: build for name, build in BOMBS.items() if name.startswith("M")}


@pytest.fixture(scope="module")
def warm(bundle_folder: Path) -> Iterator[tuple[int, Address]]:
    """A service that has decoded everything once, so that nothing is imported while it is measured; its process and address."""
    with process(bundle_folder) as (service, address):
        for data in (SMALL, dicom(phantom(160, 160).astype(np.uint16), JPEG2000Lossless, 12), EMPTY, bytes(11 * MIB)):
            Answer(address, data)
        yield service.pid, address


def family(pid: int) -> list[int]:
    """The process and all that it started, as far as they still live."""
    try:
        children = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")).split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in family(int(child)))]


def peak(pid: int) -> float:
    """Most bytes that the process held since its peak was reset; infinite where it has ended, which nobody can ask any more."""
    try:
        return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) << 10
    except (FileNotFoundError, IndexError):  # an ended process that nobody has waited for has no memory to tell of
        return inf


def grown(pid: int, ask: Callable[[], Answer]) -> tuple[Answer, float]:
    """The answer, and the bytes by which the service's processes grew meanwhile at most, those that were started for it included."""
    known, before, ended, others = family(pid), sum(map(resident, family(pid))), threading.Event(), [0]
    for one in known:
        Path(f"/proc/{one}/clear_refs").write_text("5")

    def watch() -> None:
        while not ended.is_set():
            found = 0
            for one in set(family(pid)) - set(known):
                try:
                    found += resident(one)
                except (OSError, StopIteration):
                    continue  # it has just ended
            others.append(found)
            time.sleep(0.002)

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        answer = ask()
        ended.set()
        watching.result()
    return answer, sum(map(peak, known)) + max(others) - before


@pytest.mark.parametrize("name", MEASURED)
def test_a_bomb_costs_the_service_a_fifth_of_a_second_and_32_mebibytes_at_most(warm: tuple[int, Address], name: str) -> None:
    pid, address = warm
    bomb = MEASURED[name]()
    other = bytes(len(bomb))  # takes as long to send, and is refused by its first bytes
    answers, growths = zip(*(grown(pid, lambda: Answer(address, bomb)) for _ in range(5)), strict=True)
    assert {answer.status for answer in answers} <= {413, 415, 422}
    transfer = min(Answer(address, other).seconds for _ in range(5))
    assert min(answer.seconds for answer in answers) - transfer <= SECONDS
    assert min(growths) <= MEBIBYTES * MIB


@pytest.mark.long
@pytest.mark.parametrize("bombs", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_beside_bombs_every_film_is_answered(bundle_folder: Path, bombs: int) -> None:
    files = [build() for build in BOMBS.values()] + [path.read_bytes() for path in CRASHERS] + [EMPTY] * 4
    with process(bundle_folder) as (service, address), ThreadPoolExecutor(1) as pool:
        for data in (SMALL, EMPTY, *files):
            Answer(address, data)
        alone = sorted(answer.seconds for one in clients(2, address, SMALL, timer(3)) for answer in one)
        before, ended = resident(service.pid), threading.Event()
        load = pool.submit(clients, 2, address, SMALL, ended)
        refused = [Answer(address, files[i % len(files)]) for i in range(bombs)]
        ended.set()
        answered = [answer for one in load.result() for answer in one]
        growth = resident(service.pid) - before
    assert {answer.status for answer in answered} == {200}
    assert {answer.status for answer in refused} <= {413, 415, 422}
    assert growth <= 64 * MIB
    beside = sorted(answer.seconds for answer in answered)
    p95 = [round(1000 * one[int(0.95 * len(one))]) for one in (alone, beside)]
    print(  # noqa: T201 - shown with -s
        f"{len(answered)} films answered beside {bombs} bombs, p95 {p95[1]} ms (alone {p95[0]}), median of a refusal "
        f"{1000 * statistics.median(answer.seconds for answer in refused):.0f} ms, {growth >> 20} MiB more"
    )


def timer(seconds: float) -> threading.Event:
    """An event that comes by itself."""
    event = threading.Event()
    threading.Timer(seconds, event.set).start()
    return event


@pytest.mark.slow
def test_the_costliest_files_that_are_within_all_limits_end_within_ten_seconds(warm: tuple[int, Address]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (6_300, 6_300), dtype=np.uint8)

    def saved(kind: str, **options: object) -> bytes:
        out = io.BytesIO()
        Image.fromarray(noise).save(out, kind, **options)
        return out.getvalue()

    files = {
        "PNG": saved("PNG", compress_level=1),
        "progressive JPEG": saved("JPEG", quality=75, progressive=True),
        "JPEG of a hundred empty scans": jpeg_of_size(6_300, 6_300, 0xC2, scans=100),
        "J2K": encapsulated(j2k_of_noise(noise[:4_000, :4_000]), JPEG2000Lossless, 4_000, 4_000),
        "J2K without content": EMPTY,
    }
    for name, data in files.items():
        answer, growth = grown(warm[0], lambda data=data: Answer(warm[1], data))
        print(f"{name}: {len(data) >> 20} MiB, {answer.status} in {answer.seconds:.1f} s, {growth >> 20} MiB")  # noqa: T201
        assert answer.status in (200, 413, 415, 422)
        assert answer.seconds < 10
        assert growth < 1536 * MIB
    assert Answer(warm[1], SMALL).status == 200


def j2k_of_noise(pixels: np.ndarray) -> bytes:
    data = dicom(pixels, JPEG2000Lossless, 8)
    return data[data.index(b"\xff\x4f\xff\x51") : data.rindex(b"\xff\xd9") + 2]
