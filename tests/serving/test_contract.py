"""The API does what its OpenAPI says, asked by schemathesis with every check it has."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.client import wait_until_ready
from serving.server import running
from serving.settings import Settings
from tests.serving.tiny_bundle import loader

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture(scope="module")
def url(bundle_folder: Path) -> Iterator[str]:
    with running(Settings(retry_seconds=0.05), loader(bundle_folder)) as url:
        wait_until_ready(url)
        yield url


def findings(url: str, folder: Path, examples: int, *options: str) -> str:
    """What schemathesis says when it has found something, "" otherwise."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG), "run", f"{url}/openapi.json"]
    command += ["--max-examples", str(examples), "--seed", "1", "--wait-for-schema", "30", "--checks", "all", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout[-8_000:] + done.stderr[-2_000:]


def test_every_operation_answers_as_it_is_described(url: str, tmp_path: Path) -> None:
    assert findings(url, tmp_path, 15, "--phases", "examples,coverage,fuzzing") == ""


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def test_every_operation_answers_a_thousand_requests_as_it_is_described(url: str, tmp_path: Path) -> None:
    assert findings(url, tmp_path, 1_000, "--phases", "examples,coverage,fuzzing,stateful") == ""
