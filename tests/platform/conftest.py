"""The whole system, brought up once for all tests that need it: its first start trains the demo recipe."""

from collections.abc import Iterator

import pytest

from tests.platform.stack import Stack, stack


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`make env && docker compose up --wait`."""
    with stack(tmp_path_factory.mktemp("system")) as made:
        made.compose("up", "--detach", "--wait", seconds=5400)
        yield made
