"""The engine of a host is chosen by measurement, once, among those that answer as recorded."""

import json
import os
from pathlib import Path

import pytest

from cxr import host
from cxr.bundle import time_golden
from cxr.graphs import Way, installed
from cxr.manifest import BundleError
from tests.serving.tiny_bundle import write_bundle

WAYS = tuple(Way(engine, "float32") for engine in installed())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"))


def test_the_engine_is_measured_once_and_remembered(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = tmp_path / "notes" / "engines.json"
    chosen = host.fastest(folder, WAYS, notes)
    assert chosen in WAYS and list(json.loads(notes.read_text()).values()) == [str(chosen)]
    monkeypatch.setattr(host, "_timed", lambda *_: pytest.fail("measured again"))
    assert host.fastest(folder, WAYS, notes) == chosen


def test_the_sooner_answer_wins(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_timed", lambda _, way: {"onnxruntime": 0.02, "openvino": 0.01}[way.engine])
    assert host.fastest(folder, WAYS, tmp_path / "one.json") == Way("openvino", "float32")
    monkeypatch.setattr(host, "_timed", lambda _, way: {"onnxruntime": 0.02, "openvino": float("inf")}[way.engine])
    assert host.fastest(folder, WAYS, tmp_path / "other.json") == Way("onnxruntime", "float32")


def test_of_two_that_are_nearly_as_fast_the_first_is_taken_whatever_the_machine_s_mood(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = (Way("onnxruntime", "float32"), Way("openvino", "float32"))
    for seconds in (0.0101, 0.0099, 0.00953):
        monkeypatch.setattr(host, "_timed", lambda _, way, s=seconds: {"onnxruntime": 0.01, "openvino": s}[way.engine])
        assert host.fastest(folder, ways, tmp_path / f"{seconds}.json") == ways[0]
    monkeypatch.setattr(host, "_timed", lambda *_: float("inf"))
    assert host.fastest(folder, ways, tmp_path / "none.json") == ways[0]


def test_a_lower_precision_that_is_slower_here_is_not_taken(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_timed", lambda _, way: {"float32": 0.01, "bfloat16": 0.02}[way.precision])
    ways = (Way("openvino", "float32"), Way("openvino", "bfloat16"))
    assert host.fastest(folder, ways, tmp_path / "notes.json") == ways[0]
    monkeypatch.setattr(host, "_timed", lambda _, way: {"float32": 0.01, "bfloat16": 0.005}[way.precision])
    assert host.fastest(folder, ways, tmp_path / "other.json") == ways[1]


def test_an_engine_that_answers_otherwise_than_recorded_is_out_of_the_race(tmp_path: Path) -> None:
    wrong = write_bundle(tmp_path / "wrong", shift=0.1)
    with pytest.raises(BundleError, match="away from the recorded probability"):
        time_golden(str(wrong), Way("openvino", "float32"))
    assert host._timed(wrong, Way("openvino", "float32")) == float("inf")


def test_the_only_way_is_not_measured(folder: Path, tmp_path: Path) -> None:
    assert host.fastest(folder, WAYS[:1], tmp_path / "notes.json") == WAYS[0]
    assert not (tmp_path / "notes.json").exists()


def test_cores_are_those_that_this_process_may_use() -> None:
    assert 1 <= host.cores() <= len(os.sched_getaffinity(0))
    assert host.processor() and len(set(host.instructions())) == len(host.instructions())
