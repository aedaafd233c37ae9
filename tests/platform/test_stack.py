"""Database, MLflow and serving as containers, on a real engine, with a bundle of a few kilobytes: nothing is trained here."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxr.manifest import NETWORK
from tests.platform.stack import REPO, Stack, predict, seconds_until, stack, status
from tests.serving.tiny_bundle import encoded, film, write_bundle
from training.tracking import Tracking

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
FILM = encoded(film())
QUERY = b'{"max_results": 1}'


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Serving answers from a registered champion."""
    folder = tmp_path_factory.mktemp("stack")
    with stack(folder, build=("migrate", "serving")) as made:
        made.compose("up", "--detach", "--wait", "mlflow", seconds=600)
        tracking = Tracking(made.mlflow, folder / "home")
        experiment = tracking.experiment("mdmt-tiny")
        with tracking.run(experiment, "tiny", {}, {}) as run:
            version = tracking.register(run.run_id, write_bundle(folder / "bundle", golden=3), "mdmt", {})
        tracking.client.set_registered_model_alias("mdmt", "champion", str(version))
        made.compose("up", "--detach", "--wait", "--no-deps", "serving", seconds=300)
        yield made


def test_an_uploaded_film_is_answered_by_the_registered_champion(platform: Stack) -> None:
    answer = predict(platform.serving, FILM)
    assert (answer["model"]["name"], answer["model"]["version"], answer["model"]["alias"]) == ("mdmt", "1", "champion")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"Host": "mlflow:5000"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "10.1.2.3"}, 403),
        ({"Host": "169.254.169.254"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_mlflow_answers_the_hosts_and_origins_that_are_named(platform: Stack, headers: dict[str, str], expected: int) -> None:
    assert status(f"{platform.mlflow}/api/2.0/mlflow/experiments/search", QUERY, **headers) == expected


@pytest.mark.parametrize("path", ["..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "1/..%2f..%2f..%2fetc%2fpasswd"])
def test_mlflow_gives_no_file_outside_its_artifacts(platform: Stack, path: str) -> None:
    assert 400 <= status(f"{platform.mlflow}/api/2.0/mlflow-artifacts/artifacts/{path}") < 500


@pytest.mark.parametrize("source", ["http://evil.example/x", "file:///etc", "/etc", "s3://elsewhere/x"])
def test_a_version_cannot_be_registered_from_elsewhere(platform: Stack, source: str) -> None:
    body = json.dumps({"name": "mdmt", "source": source}).encode()
    assert status(f"{platform.mlflow}/api/2.0/mlflow/model-versions/create", body) == 400


@pytest.mark.parametrize("service", ["postgres", "mlflow", "serving"])
def test_seen_from_inside_a_service_has_no_right_and_cannot_write_to_its_image(platform: Stack, service: str) -> None:
    found = platform.inside(service, "sh", "-c", "grep -E 'CapEff|NoNewPrivs' /proc/self/status; id -u; touch /x 2>&1; true")
    assert "CapEff:\t0000000000000000" in found
    assert "NoNewPrivs:\t1" in found
    assert "Read-only file system" in found
    assert "\n0\n" not in found


def test_mlflow_runs_no_job_processes(platform: Stack) -> None:
    lines = platform.inside("mlflow", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert "huey" not in lines and "job_runner" not in lines


def test_the_web_is_published_on_loopback_and_the_database_nowhere(platform: Stack) -> None:
    assert not any(platform.container("postgres")["NetworkSettings"]["Ports"].values())
    for service in ("mlflow", "serving"):
        (published,) = [bound for bound in platform.container(service)["NetworkSettings"]["Ports"].values() if bound]
        assert {one["HostIp"] for one in published} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("network", "host", "port", "reached"),
    [("units", "mlflow", 5000, True), ("units", "postgres", 5432, False), ("units", "192.0.2.1", 443, False),
     ("database", "postgres", 5432, True), ("database", "192.0.2.1", 443, False), ("web", "postgres", 5432, False)],
)  # fmt: skip
def test_who_reaches_whom(platform: Stack, network: str, host: str, port: int, reached: bool) -> None:
    attempt = f"import socket; socket.create_connection(({host!r}, {port}), 3)"
    command = ["docker", "run", "--rm", "--network", f"{platform.name}_{network}", "mdmt-serving", "python", "-c", attempt]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode == 0) is reached


def test_no_password_is_shown_by_the_engine_or_in_a_log(platform: Stack) -> None:
    shown = "".join(json.dumps(platform.container(service)) for service in ("postgres", "migrate", "mlflow", "serving"))
    shown += platform.compose("logs", "--no-color") + platform.compose("config")
    assert not [path.name for path in (platform.folder / "secrets").iterdir() if path.read_text() in shown]


def test_a_dead_database_makes_mlflow_unhealthy_within_15_seconds_and_serving_goes_on(platform: Stack) -> None:
    platform.compose("kill", "postgres")
    assert seconds_until(lambda: platform.health("mlflow") == "unhealthy", 60) <= 15
    assert predict(platform.serving, FILM)["model"]["version"] == "1"
    platform.compose("start", "postgres")
    assert seconds_until(lambda: platform.health("mlflow") == "healthy", 60) <= 15


def test_down_and_up_keeps_everything(platform: Stack) -> None:
    before = predict(platform.serving, FILM)
    platform.compose("down", "--timeout", "10")
    platform.compose("up", "--detach", "--wait", "mlflow", seconds=600)
    platform.compose("up", "--detach", "--wait", "--no-deps", "serving", seconds=300)
    after = predict(platform.serving, FILM)
    assert after["model"] == before["model"]
    assert {name: after[name] for name in ("prognosis", "severity")} == {name: before[name] for name in ("prognosis", "severity")}


def rows(platform: Stack) -> dict[str, int]:
    """Number of rows of every table of MLflow."""
    names = sql(platform, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").split()
    counted = sql(platform, " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in names))
    return {line.split("|")[0]: int(line.split("|")[1]) for line in counted.split()}


def sql(platform: Stack, query: str) -> str:
    return platform.inside("postgres", "psql", "-XtAq", "-U", "mdmt", "-d", "mlflow", "-c", query)


def digests(platform: Stack) -> str:
    return platform.inside("mlflow", "sh", "-c", "cd /artifacts && find . -type f -exec sha256sum {} + | sort -k 2")


def test_a_backup_restored_into_an_empty_stack_is_the_same_to_the_row_and_the_byte(platform: Stack, tmp_path: Path) -> None:
    before = (rows(platform), digests(platform), predict(platform.serving, FILM)["prognosis"])
    assert len(before[0]) > 20 and NETWORK in before[1]
    platform.script("backup", tmp_path / "backup")
    platform.compose("down", "--volumes", "--timeout", "5")
    platform.script("restore", tmp_path / "backup")
    platform.compose("up", "--detach", "--wait", "--no-deps", "serving", seconds=300)
    assert (rows(platform), digests(platform), predict(platform.serving, FILM)["prognosis"]) == before


def test_a_damaged_backup_changes_nothing(platform: Stack, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    platform.script("backup", backup)
    whole = (backup / "artifacts.tar").read_bytes()
    (backup / "artifacts.tar").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    known = hashlib.sha256(digests(platform).encode()).hexdigest()
    done = subprocess.run(
        [REPO / "docker" / "restore.sh", backup], cwd=REPO, env=platform.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "nothing was changed" in done.stderr
    assert hashlib.sha256(digests(platform).encode()).hexdigest() == known
    assert platform.health("mlflow") == "healthy"
