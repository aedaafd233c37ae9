"""A phantom that all tests of the service look at."""

from pathlib import Path

import pytest

from tests.services.trainer.ground import PHANTOM
from training.data.cohorts.phantom import generate


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated once; nobody writes there."""
    data = tmp_path_factory.mktemp("phantom")
    generate(data, PHANTOM, workers=1)
    return data
