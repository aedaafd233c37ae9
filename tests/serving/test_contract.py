"""The API does what its OpenAPI says, asked by schemathesis with every check it has."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.authorization import is_public
from serving.client import wait_until_ready
from serving.keys import add_key
from serving.server import running
from serving.settings import Settings
from tests.serving.conftest import service
from tests.serving.tiny_bundle import loader

REPO = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("schemathesis.toml")


HOOKS = "tests.serving.schemathesis_films"


@pytest.fixture(scope="module")
def url(bundle_folder: Path) -> Iterator[str]:
    with running(Settings(retry_seconds=0.05), loader(bundle_folder)) as url:
        wait_until_ready(url)
        yield url


def findings(url: str, folder: Path, examples: int, *options: str) -> str:
    """What schemathesis says when it has found something, "" otherwise."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG), "run", f"{url}/openapi.json"]
    command += ["--max-examples", str(examples), "--seed", "1", "--wait-for-schema", "30", "--checks", "all", *options]
    there = {**os.environ, "SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": str(REPO)}
    done = subprocess.run(command, cwd=folder, env=there, capture_output=True, text=True, check=False)
    sys.stdout.write(done.stdout)  # how much was asked: pytest -s
    return "" if done.returncode == 0 else done.stdout[-8_000:] + done.stderr[-2_000:]


def answered(url: str) -> float:
    """Films that got an answer so far, as `/metrics` of an open service says."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("mdmt_lungs_found_total"))


def test_every_operation_answers_as_it_is_described(url: str, tmp_path: Path) -> None:
    assert findings(url, tmp_path, 15, "--phases", "examples,coverage,fuzzing") == ""
    assert answered(url) > 10  # else only refusals were looked at


def test_the_description_says_where_a_key_is_asked_for(bundle_folder: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "reader", ("predict",))
    for settings, asks in (({}, False), ({"keys_file": tmp_path / "keys.json"}, True)):
        with service(loader(bundle_folder), **settings) as client:
            described = client.get("/openapi.json", headers={"Authorization": f"Bearer {key}"}).json()
        assert ("securitySchemes" in described.get("components", {})) == asks
        for path, operations in described["paths"].items():
            for operation in operations.values():
                assert ("security" in operation) == (asks and not is_public(path)), path
                assert not asks or is_public(path) or {"401", "403", "429"} <= operation["responses"].keys(), path


@pytest.mark.slow
def test_a_service_with_keys_answers_as_it_is_described_and_nobody_without_one(bundle_folder: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "contract", ("predict", "admin"))
    guarded = Settings(retry_seconds=0.05, keys_file=tmp_path / "keys.json", rate=10_000)
    with running(guarded, loader(bundle_folder)) as url:
        wait_until_ready(url)
        bearer = ("--header", f"Authorization: Bearer {key}")
        assert findings(url, tmp_path, 15, "--phases", "examples,coverage,fuzzing", *bearer) == ""


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def test_every_operation_answers_a_thousand_requests_as_it_is_described(url: str, tmp_path: Path) -> None:
    assert findings(url, tmp_path, 1_000, "--phases", "examples,coverage,fuzzing,stateful") == ""
