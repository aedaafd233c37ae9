"""Drift gauges compare what comes in with what the bundle says of training, and say nothing where it says nothing."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr.bundle import Bundle
from cxr.gate import Gate
from cxr.prediction import Prediction, TaskAnswer
from serving.drift import ENOUGH, WINDOW, Drift, distance
from tests.serving.conftest import service
from tests.serving.test_refusals import PNG
from tests.serving.tiny_bundle import encoded, film, loader, write_bundle
from tests.serving.versions import alter

LABELS = st.sampled_from(["MILD", "SEVERE", "OTHER"])


@given(st.lists(LABELS, min_size=1, max_size=50), st.lists(LABELS, min_size=1, max_size=50))
def test_the_distance_of_two_mixes_is_a_share_and_nothing_for_equal_ones(now: list[str], then: list[str]) -> None:
    reference = {label: n / len(then) for label, n in Counter(then).items()}
    assert 0 <= distance(Counter(now), reference) <= 1 + 1e-12
    assert distance(Counter(then), reference) == pytest.approx(0)
    assert distance(Counter(["unheard of"]), reference) == pytest.approx(1)


def bundle_with(folder: Path, **mix: float) -> Bundle:
    write_bundle(folder)
    alter(folder, class_mix={"prognosis": mix})
    return Bundle(folder)


def answered(bundle: Bundle, label: str, score: float | None = None) -> Prediction:
    prepared = replace(bundle.prepare(encoded(film()), gated=False), score=score)
    return Prediction({"prognosis": TaskAnswer(label, 0, (1.0, 0.0))}, prepared)


def test_the_class_mix_of_the_latest_films_is_compared_once_there_are_enough(tmp_path: Path) -> None:
    bundle, drift = bundle_with(tmp_path, MILD=0.5, SEVERE=0.5), Drift()
    mild, severe = answered(bundle, "MILD"), answered(bundle, "SEVERE")
    for _ in range(ENOUGH - 1):
        drift.add(bundle, mild)
    assert drift.classes(bundle) == {}
    drift.add(bundle, mild)
    assert drift.classes(bundle) == {"prognosis": pytest.approx(0.5)}
    for _ in range(WINDOW):
        drift.add(bundle, severe)
    assert drift.classes(bundle) == {"prognosis": pytest.approx(0.5)}
    for _ in range(WINDOW // 2):
        drift.add(bundle, mild)
    assert drift.classes(bundle) == {"prognosis": pytest.approx(0, abs=0.01)}


def test_another_version_begins_anew_and_one_without_a_reference_shows_nothing(tmp_path: Path) -> None:
    first, second = bundle_with(tmp_path / "1", MILD=1.0), bundle_with(tmp_path / "2", MILD=0.9, SEVERE=0.1)
    silent, drift = Bundle(write_bundle(tmp_path / "3")), Drift()
    for bundle in (first, second, silent):
        for _ in range(ENOUGH):
            drift.add(bundle, answered(bundle, "MILD"))
        assert set(drift.classes(bundle)) == (set() if bundle is silent else {"prognosis"})
    assert drift.classes(first) == {}


def test_unusual_films_are_counted_where_there_is_a_gate(tmp_path: Path) -> None:
    class Fitted:
        typical = (0.5, 0.8, 1.0, 1.2, 1.6)

    bundle, drift = bundle_with(tmp_path, MILD=1.0), Drift()
    bundle.gate = Gate()
    bundle.gate.model = Fitted()  # type: ignore[assignment]  # of a fitted gate only this is asked here
    for score in np.linspace(1.0, 2.0, 100):
        drift.add(bundle, answered(bundle, "MILD", float(score)))
    assert drift.unusual(bundle) == pytest.approx(0.4, abs=0.02)
    assert drift.unusual(Bundle(write_bundle(tmp_path / "other"))) is None


def test_the_gauges_are_in_the_metrics(tmp_path: Path) -> None:
    bundle_with(tmp_path, MILD=1.0)
    with service(loader(tmp_path)) as client:
        assert 'mdmt_class_drift{task="prognosis"}' not in client.get("/metrics").text
        for _ in range(ENOUGH):
            assert client.post("/predict", content=encoded(film()), headers=PNG).status_code == 200
        text = client.get("/metrics").text
    assert 'mdmt_class_drift{task="prognosis"}' in text
    assert 'mdmt_class_drift{task="severity"}' not in text
    assert "mdmt_input_drift{" not in text
    assert "mdmt_predictions_waiting 0.0" in text
