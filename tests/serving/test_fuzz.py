"""Damaged files at the door of the real service: refused by a stable code, never a 5xx, never a hang, and nothing is left behind."""

import gc
import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from serving.client import wait_until_ready
from serving.errors import MEDIA_TYPE, PROBLEMS
from serving.server import running
from serving.settings import Settings
from tests.cxr.bombs import BOMBS
from tests.cxr.encodings import lossless, lossy
from tests.cxr.mutants import mutant
from tests.serving.tiny_bundle import film, loader

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("silent")]
RAW = {"content-type": "application/octet-stream"}
SLOWEST = 10.0  # seconds of one answer: beyond it a file hangs us
CRASHERS = Path(__file__).parents[1] / "crashers"
SMALL = film(seed=4, size=80)
FILES = {name: build() for name, build in {**lossless(SMALL), **lossy(SMALL)}.items()}


def outcome(client: httpx2.Client, data: bytes) -> str:
    """The problem's code, or "answered"; asserts that the answer is one that a damaged file may get."""
    start = time.monotonic()
    answer = client.post("/predict", content=data, headers=RAW)
    assert time.monotonic() - start < SLOWEST
    if answer.status_code == 200:
        return "answered"
    body = answer.json()
    code = body["type"].removeprefix("/problems/")
    assert answer.headers["content-type"] == MEDIA_TYPE and PROBLEMS[code][0] == answer.status_code == body["status"]
    assert answer.status_code in (413, 415, 422) and "SECRET" not in answer.text
    return code


def hammered(client: httpx2.Client, count: int, seed: int) -> Counter[str]:
    rng = np.random.default_rng(seed)
    names = list(FILES)
    return Counter(outcome(client, mutant(FILES[names[i % len(names)]], rng)) for i in range(count))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process's folder for temporary files, empty."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def open_descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def test_every_encoding_is_answered_while_it_is_whole(client: TestClient) -> None:
    assert {name: outcome(client, data) for name, data in FILES.items()} == dict.fromkeys(FILES, "answered")


def test_mutants_of_every_encoding_get_a_stable_code_and_leave_nothing_behind(client: TestClient, temporary: Path) -> None:
    hammered(client, 15, seed=0)
    before = open_descriptors()
    outcomes = hammered(client, 150, seed=20261123)
    assert {"answered", "truncated-file", "unsupported-dicom"} <= outcomes.keys(), "mutants that reach every door"
    assert open_descriptors() <= before and not list(temporary.iterdir())


@given(
    name=st.sampled_from(sorted(FILES)),
    cut=st.integers(0, 400),
    edits=st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), max_size=8),
    inserted=st.binary(max_size=24),
    at=st.integers(0, 3_000),
)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_edited_files_get_a_stable_code(
    client: TestClient, name: str, cut: int, edits: list[tuple[int, int]], inserted: bytes, at: int
) -> None:
    damaged = bytearray(FILES[name])
    for place, value in edits:
        damaged[place % len(damaged)] = value
    damaged[at:at] = inserted
    outcome(client, bytes(damaged[: len(damaged) - cut]) or b"\0")


@pytest.mark.parametrize("file", sorted(set(CRASHERS.iterdir()) - {CRASHERS / "README.md"}), ids=lambda file: file.name)
def test_a_file_that_once_broke_a_decoder_is_refused(client: TestClient, file: Path) -> None:
    assert outcome(client, file.read_bytes()) != "answered"


def test_bombs_are_refused_and_a_whole_film_after_them_is_answered(client: TestClient) -> None:
    for name in (
        "M15: J2K of 400 Mpx in its own header",
        "M17: RLE of 100,000 frames",
        "M20: PNG of 177 Mpx",
        "M18: sequences 200 deep",
    ):
        assert outcome(client, BOMBS[name]()) != "answered"
    assert outcome(client, FILES["dicom jpeg lossless .70"]) == "answered"


@pytest.mark.slow
@pytest.mark.timeout(3_000)
@pytest.mark.parametrize("seed", range(10))
def test_twenty_thousand_mutants_break_nothing(client: TestClient, temporary: Path, seed: int) -> None:
    """2,000 for each of ten seeds; memory may grow by what the first hundred films did not yet touch, and no more."""
    hammered(client, 100, seed=1_000)
    before, memory = open_descriptors(), _resident_mebibytes()
    outcomes = hammered(client, 2_000, seed)
    assert sum(outcomes.values()) == 2_000, json.dumps(outcomes)
    assert open_descriptors() <= before and not list(temporary.iterdir())
    assert _resident_mebibytes() - memory < 64


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def test_three_thousand_mutants_over_a_port_break_nothing(bundle_folder: Path, temporary: Path) -> None:
    """The same through sockets and the HTTP parser, on connections that are kept."""
    with running(Settings(retry_seconds=0.05), loader(bundle_folder)) as url:
        wait_until_ready(url)
        with httpx2.Client(base_url=url, timeout=2 * SLOWEST) as client:
            hammered(client, 100, seed=2_000)
            before, memory = open_descriptors(), _resident_mebibytes()
            outcomes = hammered(client, 3_000, seed=20261129)
            assert sum(outcomes.values()) == 3_000 and {"answered", "truncated-file"} <= outcomes.keys(), json.dumps(outcomes)
            assert open_descriptors() <= before and not list(temporary.iterdir())
            assert _resident_mebibytes() - memory < 64
            assert client.get("/livez").status_code == 200


def _resident_mebibytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
