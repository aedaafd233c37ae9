"""A tiny cohort, prepared."""

from pathlib import Path

import pytest

from tests.serving.tiny_bundle import SPEC, write_bundle
from tests.training.data.films.ground import tiny_cohort
from training.data.cohort import Cohort
from training.data.films import FilmStore, prepare_cohort


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle")) / "segmenter.onnx"


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return tiny_cohort(tmp_path / "images")


@pytest.fixture
def store(cohort: Cohort, tmp_path: Path, segmenter: Path) -> FilmStore:
    return prepare_cohort(cohort, tmp_path / "store", SPEC, segmenter, 1)
