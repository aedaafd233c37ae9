"""The training service as a process, with real workers: from a recipe to the champion, through kills, stops and cancellations."""

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr.manifest import NETWORK
from services.executors.process import ProcessExecutor
from tests.services.trainer.ground import Process, frames, recipe_on, until
from training.protocol.recipe import Recipe
from training.protocol.study import Study
from training.settings import Training
from training.tracking import Tracking, default_uri

pytestmark = [pytest.mark.slow, pytest.mark.timeout(6000)]
UNITS, REFITS = 6, 3
LONG = 2400.0  # on a machine that does much else


class Nobody:
    def stage(self, *_: object) -> None: ...
    def units(self, *_: object) -> None: ...
    def unit_event(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def recipe(phantom: Path) -> Recipe:
    training = Training(batch_size=16, max_epochs=3, patience=3, warmup_epochs=0, hidden=16)
    return recipe_on(phantom, training=training, experiments=("stl-prognosis", "stl-severity", "mdmt"))


@pytest.fixture(scope="module")
def prepared(new_home: Callable[[], Path], recipe: Recipe, phantom: Path) -> Path:
    """A home with the U-Net and the films, and nothing trained."""
    home = new_home()
    Study(recipe, phantom, Tracking(default_uri(home), home), ProcessExecutor(1), 1).films(Nobody())
    return home


@pytest.fixture
def home(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "home"))


def results(home: Path) -> dict[str, dict[str, float]]:
    """Fingerprint → figures of its test films. Every unit is finished once, and no run is open."""
    client = Tracking(default_uri(home), home, ask=False).client
    experiments = [e.experiment_id for e in client.search_experiments()]
    assert client.search_runs(experiments, "attributes.status = 'RUNNING'") == []
    done = client.search_runs(experiments, "tags.`mdmt.kind` = 'unit' and attributes.status = 'FINISHED'")
    counted = Counter(run.data.tags["mdmt.fingerprint"] for run in done)
    assert set(counted.values()) == {1}
    wanted = ("test_", "val_loss", "epochs")
    return {
        run.data.tags["mdmt.fingerprint"]: {k: v for k, v in run.data.metrics.items() if k.startswith(wanted)} for run in done
    }


def champion(home: Path) -> int:
    client = Tracking(default_uri(home), home, ask=False).client
    return int(client.get_model_version_by_alias("mdmt", "champion").version)


def done(service: Process, id: str) -> int:
    units = service.get(id)["units"]
    return int(units["done"]) if units else 0


def running(service: Process, id: str) -> bool:
    units = service.get(id)["units"]
    return bool(units and units["running"])


def wait_for_work(service: Process, id: str) -> None:
    """Until a unit is trained, or what comes after the units is done."""
    until(lambda: running(service, id) or service.get(id)["state"] in ("refitting", "registering"), LONG)


@pytest.fixture(scope="module")
def undisturbed(prepared: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a protocol that nobody disturbed."""
    home = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("undisturbed") / "home"))
    with Process(home, home / "log") as service:
        id = service.submit(recipe)["id"]
        over = service.wait_over(id, LONG)
        assert over["state"] == "finished", over
        assert over["registered"] == {"name": "mdmt", "version": 1, "promoted": True, "previous": None, "refused": None}
        assert (over["units"]["done"], over["units"]["total"]) == (UNITS + REFITS, UNITS + REFITS)
        assert service.ask("GET", f"/protocols/{id}/logs").text.count(" done ") == UNITS + REFITS
        assert service.terminate()[0] == 0
    return home


def test_a_protocol_ends_with_a_champion_a_report_and_a_finished_run(undisturbed: Path) -> None:
    assert len(results(undisturbed)) == UNITS + REFITS
    assert champion(undisturbed) == 1
    (protocol,) = (undisturbed / "protocols").iterdir()
    assert (protocol / "report" / "report.html").is_file()


def test_the_same_recipe_again_and_at_the_next_start_trains_nothing(undisturbed: Path, recipe: Recipe, tmp_path: Path) -> None:
    file, before = tmp_path / "recipe.json", results(undisturbed)
    file.write_text(recipe.model_dump_json())
    with Process(undisturbed, tmp_path / "log", MDMT_RECIPE=str(file)) as service:
        id = until(lambda: (a := service.ask("GET", "/protocols")).ok and a.json(), 300)[0]["id"]
        until(lambda: "nothing to do" in service.get(id).get("note", ""), 600)
        again = service.submit(recipe)
        assert again["id"] == id
        over = service.wait_over(id)
        assert (over["state"], over["registered"]["version"]) == ("finished", 1)
        assert " claimed " not in service.ask("GET", f"/protocols/{id}/logs").text.rsplit("registering", 1)[1]
        heard = frames(service.ask("GET", f"/protocols/{id}/events").text)
        assert heard[0]["data"]["state"] == "finished"
    assert results(undisturbed) == before
    assert champion(undisturbed) == 1


def test_a_version_that_the_gate_holds_back_is_registered_and_not_promoted_and_the_protocol_says_why(
    undisturbed: Path, recipe: Recipe, tmp_path: Path
) -> None:
    """After the tests above: the registered graph is damaged here."""
    client = Tracking(default_uri(undisturbed), undisturbed, ask=False).client
    client.delete_registered_model_alias("mdmt", "champion")
    for graph in (undisturbed / "artifacts").rglob(NETWORK):
        graph.write_bytes(graph.read_bytes() + b"0")
    with Process(undisturbed, tmp_path / "log") as service:
        over = service.wait_over(service.submit(recipe)["id"], LONG)
    assert (over["state"], over["registered"]["promoted"]) == ("finished", False)
    assert NETWORK in over["registered"]["refused"]
    assert over["note"] == f"version 1 of mdmt is registered, not promoted: {over['registered']['refused']}"
    assert not client.get_registered_model("mdmt").aliases


def test_a_service_killed_at_any_moment_and_started_again_ends_with_the_same_figures(
    undisturbed: Path, home: Path, recipe: Recipe, tmp_path: Path
) -> None:
    dice, id = random.Random(20261123), ""
    for _ in range(3):
        with Process(home, tmp_path / "log") as service:
            id = id or service.submit(recipe)["id"]
            wait_for_work(service, id)
            time.sleep(dice.uniform(0, 5))
            service.kill()
    with Process(home, tmp_path / "log") as service:
        over = service.wait_over(id, LONG)
        assert over["state"] == "finished", over
    assert results(home) == results(undisturbed)
    assert champion(home) == 1


def test_sigterm_in_a_unit_ends_with_code_0_in_ten_seconds_and_the_unit_is_given_back(
    home: Path, recipe: Recipe, tmp_path: Path
) -> None:
    with Process(home, tmp_path / "log") as service:
        id = service.submit(recipe)["id"]
        until(lambda: running(service, id), LONG)
        code, seconds = service.terminate()
    assert (code, seconds <= 10) == (0, True), seconds
    client = Tracking(default_uri(home), home, ask=False).client
    experiments = [e.experiment_id for e in client.search_experiments()]
    (protocol,) = client.search_runs(experiments, "tags.`mdmt.kind` = 'protocol'")
    assert protocol.info.status == "RUNNING"
    with Process(home, tmp_path / "log") as service:
        until(lambda: running(service, id), LONG)
        assert service.ask("DELETE", f"/protocols/{id}").status_code in (200, 202)
        assert service.ask("DELETE", f"/protocols/{id}").status_code in (200, 202)
        assert service.wait_over(id)["state"] == "cancelled"
        assert service.submit(recipe)["id"] == id
        until(lambda: done(service, id) >= 1, LONG)
        service.ask("DELETE", f"/protocols/{id}")
        assert service.wait_over(id)["state"] == "cancelled"
    assert client.get_run(protocol.info.run_id).info.status == "KILLED"


def test_sigterm_in_a_stage_ends_with_code_0_in_ten_seconds(new_home: Callable[[], Path], recipe: Recipe, tmp_path: Path) -> None:
    home = new_home()
    with Process(home, tmp_path / "log") as service:
        id = service.submit(recipe)["id"]
        until(lambda: (stage := service.get(id)["stage"]) and stage["name"] == "lung U-Net", 300)
        until(lambda: list((home / "segmenters").glob("*.training")), 600)
        code, seconds = service.terminate()
    assert (code, seconds <= 10) == (0, True), seconds
