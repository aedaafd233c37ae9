"""What people delete in MLflow's pages, or MLflow refuses, ends no work but that of its own protocol."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from services.trainer.app import create_app
from services.trainer.records import Order, Records
from services.trainer.settings import Settings
from tests.services.trainer.ground import Obedient, fail, recipe_on, records, service, state_of, submission, until, wait_for_ever
from training.tracking import Tracking, default_uri


def client_of(settings: Settings) -> MlflowClient:
    return Tracking(default_uri(settings.home), settings.home, ask=False).client


def test_a_protocol_whose_run_is_deleted_in_mlflow_can_be_cancelled_and_submitted_again(
    waiting: TestClient, settings: Settings, phantom: Path
) -> None:
    one, two = (waiting.post("/protocols", json=submission(recipe_on(phantom, seed=s))).json()["id"] for s in (1, 2))
    until(lambda: state_of(waiting, one) == "preparing")
    client_of(settings).delete_run(records(settings)[one].info.run_id)
    assert waiting.delete(f"/protocols/{one}").status_code in (200, 202)
    until(lambda: state_of(waiting, two) == "preparing")
    assert (state_of(waiting, one), waiting.get("/readyz").status_code) == ("cancelled", 200)
    assert waiting.post("/protocols", json=submission(recipe_on(phantom, seed=1))).status_code == 202
    assert records(settings)[one].info.status == "RUNNING"


def test_work_on_a_protocol_whose_run_was_deleted_opens_another(settings: Settings, phantom: Path) -> None:
    tracking = Tracking(default_uri(settings.home), settings.home)
    kept, order = Records(tracking, settings.stack), Order(recipe_on(phantom), phantom, promote=False)
    kept.open(order)
    tracking.client.delete_run(records(settings)[order.id].info.run_id)
    kept.end(order.id, "FAILED", "nobody is told", {})
    assert records(settings) == {}
    kept.reopen(order)
    kept.reopen(order)
    assert records(settings)[order.id].info.status == "RUNNING"


def test_with_its_experiment_deleted_a_recipe_is_refused_with_what_to_do_and_others_are_worked_on(
    waiting: TestClient, settings: Settings, phantom: Path
) -> None:
    one = waiting.post("/protocols", json=submission(recipe_on(phantom))).json()["id"]
    until(lambda: state_of(waiting, one) == "preparing")
    client = client_of(settings)
    client.delete_experiment(client.get_experiment_by_name("mdmt-tiny").experiment_id)
    refused = waiting.post("/protocols", json=submission(recipe_on(phantom, seed=2)))
    assert (refused.status_code, refused.json()["code"]) == (409, "tracking-refuses")
    assert "mlflow experiments restore --experiment-id" in refused.json()["detail"]
    assert waiting.delete(f"/protocols/{one}").status_code in (200, 202)
    other = waiting.post("/protocols", json=submission(recipe_on(phantom, name="other"))).json()["id"]
    until(lambda: state_of(waiting, other) == "preparing")
    assert (state_of(waiting, one), waiting.get("/readyz").status_code) == ("cancelled", 200)


def test_the_recipe_of_the_start_is_no_reason_not_to_work_on_others(settings: Settings, phantom: Path) -> None:
    tracking = Tracking(default_uri(settings.home), settings.home)
    tracking.client.delete_experiment(tracking.experiment("mdmt-tiny"))
    at_start = Order(recipe_on(phantom), phantom, promote=True)
    app = create_app(settings, lambda _, stop: Obedient(stop, wait_for_ever), at_start)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        until(lambda: client.get("/readyz").status_code == 200)
        other = client.post("/protocols", json=submission(recipe_on(phantom, name="other"))).json()["id"]
        until(lambda: state_of(client, other) == "preparing")
    assert app.state.driver.join(10)


def test_an_end_that_mlflow_refuses_is_an_end_all_the_same(
    settings: Settings, phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise MlflowException("the tag is too long", INVALID_PARAMETER_VALUE)

    monkeypatch.setattr(Records, "end", refuse)
    with service(settings, fail) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        for seed in (1, 2):
            id = client.post("/protocols", json=submission(recipe_on(phantom, seed=seed))).json()["id"]
            until(lambda id=id: state_of(client, id) == "failed")
            note = client.get(f"/protocols/{id}").json()["note"]
            assert "no room for the U-Net" in note and "MLflow was not told: " in note and "the tag is too long" in note
