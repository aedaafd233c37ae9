"""The engine of a host is chosen by measurement, once, among those that answer as recorded."""

import json
import os
from pathlib import Path

import pytest

from cxr import host
from cxr.bundle import time_golden
from cxr.graphs import ENGINES
from cxr.manifest import BundleError
from tests.serving.tiny_bundle import write_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"))


def test_the_engine_is_measured_once_and_remembered(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = tmp_path / "notes" / "engines.json"
    chosen = host.fastest(folder, notes)
    assert chosen in ENGINES and list(json.loads(notes.read_text()).values()) == [chosen]
    monkeypatch.setattr(host, "_timed", lambda *_: pytest.fail("measured again"))
    assert host.fastest(folder, notes) == chosen


def test_the_sooner_answer_wins(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_timed", lambda _, engine: {"onnxruntime": 0.02, "openvino": 0.01}[engine])
    assert host.fastest(folder, tmp_path / "one.json") == "openvino"
    monkeypatch.setattr(host, "_timed", lambda _, engine: {"onnxruntime": 0.02, "openvino": float("inf")}[engine])
    assert host.fastest(folder, tmp_path / "other.json") == "onnxruntime"


def test_an_engine_that_answers_otherwise_than_recorded_is_out_of_the_race(tmp_path: Path) -> None:
    wrong = write_bundle(tmp_path / "wrong", shift=0.1)
    with pytest.raises(BundleError, match="away from the recorded probability"):
        time_golden(str(wrong), "openvino")
    assert host._timed(wrong, "openvino") == float("inf")


def test_the_only_engine_is_not_measured(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "installed", lambda: ("openvino",))
    assert host.fastest(folder, tmp_path / "notes.json") == "openvino"
    assert not (tmp_path / "notes.json").exists()


def test_cores_are_those_that_this_process_may_use() -> None:
    assert 1 <= host.cores() <= len(os.sched_getaffinity(0))
    assert host.processor() and len(set(host.instructions())) == len(host.instructions())
