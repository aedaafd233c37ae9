"""From a clean checkout to a served prediction: everything in containers, the demo recipe trained by the trainer. Many minutes."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.platform.stack import Stack, seconds_until, status
from training.tracking import Tracking

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def runs(system: Stack, kind: str) -> dict[str, tuple[str, float]]:
    """Fingerprint (or id) → state and start of every run of a kind, whatever its state."""
    client = Tracking(system.mlflow, system.folder / "home").client
    experiments = [one.experiment_id for one in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`mdmt.kind` = '{kind}'", max_results=1000)
    return {one.data.tags.get("mdmt.fingerprint", one.info.run_id): (one.info.status, one.info.start_time) for one in found}


def ask(system: Stack, film: Path) -> dict[str, Any]:
    """As the README says it: curl with a form, where curl is installed."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "--silent", "--show-error", "--fail", "--form", f"file=@{film}", f"{system.serving}/predict"]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout)
    return found


@pytest.fixture(scope="module")
def film(system: Stack) -> Path:
    """A generated film that nothing was trained on."""
    system.compose("cp", "trainer:/data/phantom/held-out/held_out_1.png", str(system.folder / "film.png"))
    return system.folder / "film.png"


def test_a_film_is_answered_by_the_version_that_the_trainer_promoted(system: Stack, film: Path) -> None:
    answer = ask(system, film)
    assert (answer["model"]["name"], answer["model"]["alias"]) == ("mdmt", "champion")
    version = Tracking(system.mlflow, system.folder / "home").client.get_model_version_by_alias("mdmt", "champion")
    assert answer["model"]["version"] == str(version.version)


def test_every_unit_is_finished_once_and_no_run_is_left_open(system: Stack) -> None:
    units = runs(system, "unit")
    assert len(units) > 5
    assert {state for state, _ in units.values()} == {"FINISHED"}
    seconds_until(lambda: {state for state, _ in runs(system, "protocol").values()} == {"FINISHED"}, 120)


def test_no_container_of_a_unit_is_left(system: Stack) -> None:
    def left() -> str:
        command = [
            "docker",
            "ps",
            "--all",
            "--quiet",
            "--filter",
            f"label=mdmt.stack={system.name}",
            "--filter",
            "label=mdmt.role",
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    seconds_until(lambda: not left(), 60)


@pytest.mark.skipif(CHROMIUM is None, reason="no browser: chromium is not installed")
def test_the_ui_shows_runs_side_by_side(system: Stack) -> None:
    client = Tracking(system.mlflow, system.folder / "home").client
    experiment = client.get_experiment_by_name("mdmt-demo")
    two = client.search_runs([experiment.experiment_id], "tags.`mdmt.kind` = 'unit'", max_results=2)
    chosen = urllib.parse.quote(json.dumps([one.info.run_id for one in two]))
    page = (
        f"{system.mlflow}/#/compare-runs?runs={chosen}&experiments={urllib.parse.quote(json.dumps([experiment.experiment_id]))}"
    )
    picture = system.folder / "compare.png"
    browser = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1600,1200", "--virtual-time-budget=30000"]
    subprocess.run([*browser, f"--screenshot={picture}", page], capture_output=True, timeout=180, check=True)
    shown = subprocess.run([*browser, "--dump-dom", page], capture_output=True, text=True, timeout=180, check=True).stdout
    assert all(one.info.run_name in shown for one in two)
    assert picture.stat().st_size > 20_000


def test_down_and_up_keeps_everything_and_trains_nothing(system: Stack, film: Path) -> None:
    units, answer = runs(system, "unit"), ask(system, film)
    system.compose("down", "--timeout", "15")
    system.compose("up", "--detach", "--wait", seconds=1200)
    seconds_until(lambda: status(f"{system.trainer}/readyz") == 200, 120)

    def settled() -> bool:
        with urllib.request.urlopen(f"{system.trainer}/protocols", timeout=20) as given:
            known = json.load(given)
        return bool(known) and {one["state"] for one in known} == {"finished"}

    seconds_until(settled, 600)
    assert runs(system, "unit") == units
    again = ask(system, film)
    assert (again["model"], again["prognosis"]) == (answer["model"], answer["prognosis"])
