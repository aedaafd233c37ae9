"""`kill -9` of every part of the running stack while it works a protocol off: nothing lost, nothing twice, the same figures."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from services.trainer.states import OVER
from tests.platform.stack import REPO, Stack, seconds_until, small_recipe
from training.protocol.recipe import Recipe
from training.tracking import Tracking, default_uri

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
PARTS, TIMES = ("trainer", "unit", "mlflow", "postgres"), 3


def under_fire() -> Recipe:
    """Twenty units of a small network, long enough together for all kills to fall among them."""
    return small_recipe("under-fire", folds=5, epochs=15, running={"lease_seconds": 20})


def protocol(system: Stack, identity: str) -> dict[str, Any]:
    """The protocol as the trainer tells it; {} while the trainer, or MLflow behind it, is down."""
    try:
        with urllib.request.urlopen(f"{system.trainer}/protocols/{identity}", timeout=20) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return {}


def submitted(system: Stack, recipe: Recipe) -> str:
    body = json.dumps({"recipe": recipe.model_dump(mode="json")}).encode()
    request = urllib.request.Request(f"{system.trainer}/protocols", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(json.load(answer)["id"])


def containers(system: Stack, part: str) -> list[int]:
    """Process ids, on this machine, of the part's running containers."""
    chosen = "label=mdmt.role=worker" if part == "unit" else f"label=com.docker.compose.service={part}"
    stack = f"label={'mdmt.stack' if part == 'unit' else 'com.docker.compose.project'}={system.name}"
    listing = ["docker", "ps", "--quiet", "--filter", chosen, "--filter", stack]
    names = subprocess.run(listing, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    told = [
        subprocess.run(
            ["docker", "inspect", "-f", "{{.State.Pid}}", name], capture_output=True, text=True, timeout=60, check=False
        )
        for name in names
    ]
    return [int(one.stdout) for one in told if one.stdout.strip() not in ("", "0")]


def kill(system: Stack, part: str, chance: random.Random) -> None:
    """SIGKILL from outside, as a crash: `docker kill` would count as a wish to stop, after which nothing is restarted."""
    seconds_until(lambda: bool(containers(system, part)), 120)
    try:
        os.kill(chance.choice(containers(system, part)), signal.SIGKILL)
    except PermissionError:
        pytest.skip("processes of the engine's containers belong to somebody else: run as root to kill them")


def table(tracking: Tracking) -> dict[str, dict[str, float]]:
    """Fingerprint → every metric that does not tell the time, of the finished units."""
    client = tracking.client
    experiments = [one.experiment_id for one in client.search_experiments()]
    wanted = "tags.`mdmt.kind` = 'unit' and attributes.status = 'FINISHED'"
    found = client.search_runs(experiments, wanted, max_results=1000)
    fingerprints = Counter(one.data.tags["mdmt.fingerprint"] for one in found)
    assert set(fingerprints.values()) == {1}
    return {
        one.data.tags["mdmt.fingerprint"]: {
            name: value for name, value in one.data.metrics.items() if "seconds" not in name and "cpu" not in name
        }
        for one in found
    }


def test_kills_of_every_part_lose_nothing_double_nothing_and_change_no_figure(system: Stack, tmp_path: Path) -> None:
    recipe, chance = under_fire(), random.Random(5)
    tracking = Tracking(system.mlflow, system.folder / "home")
    before = table(tracking)
    identity = submitted(system, recipe)
    seconds_until(lambda: (protocol(system, identity).get("units") or {}).get("running", 0) > 0, 600)
    order = list(PARTS) * TIMES
    chance.shuffle(order)
    for part in order:
        time.sleep(chance.uniform(2, 6))
        assert protocol(system, identity).get("state") not in OVER, "over before the last kill: give the recipe more epochs"
        kill(system, part, chance)
    seconds_until(lambda: protocol(system, identity).get("state") in OVER, 1800)
    after = protocol(system, identity)
    assert (after["state"], after["failures"]) == ("finished", [])
    disturbed = {name: metrics for name, metrics in table(tracking).items() if name not in before}
    experiments = [one.experiment_id for one in tracking.client.search_experiments()]
    assert not tracking.client.search_runs(experiments, "attributes.status = 'RUNNING'", max_results=10)

    for path in ("/data/phantom", "/state/segmenters"):
        system.compose("cp", f"trainer:{path}", str(tmp_path / Path(path).name))
    (home := tmp_path / "home").mkdir()
    (tmp_path / "segmenters").rename(home / "segmenters")
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    study = ["--recipe", str(tmp_path / "recipe.json"), "--data", str(tmp_path / "phantom")]
    command = [sys.executable, "-m", "mdmt", "run", *study]
    own = {key: value for key, value in os.environ.items() if not key.startswith(("MDMT_", "MLFLOW_"))}
    environment = own | {"MDMT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    undisturbed = table(Tracking(default_uri(home), home))
    assert len(undisturbed) == 20
    assert {name: disturbed[name] for name in undisturbed} == undisturbed  # beside these, `disturbed` has the refits
