"""What a caller may do with protocols, and what MLflow says of them. The stages wait, fail or are done as each test has it."""

from collections.abc import Sequence
from pathlib import Path

import requests
from fastapi.testclient import TestClient

from services.trainer.records import Order
from services.trainer.settings import Settings
from tests.services.trainer.ground import (
    Obedient,
    fail,
    frames,
    recipe_on,
    records,
    service,
    state_of,
    submission,
    until,
    wait_for_ever,
)
from training.tracking import Tracking, default_uri


def test_a_recipe_is_accepted_once_and_is_a_running_run_with_the_recipe_in_it(
    waiting: TestClient, settings: Settings, phantom: Path
) -> None:
    recipe = recipe_on(phantom)
    first = waiting.post("/protocols", json=submission(recipe))
    again = waiting.post("/protocols", json=submission(recipe))
    assert (first.status_code, again.status_code) == (202, 200)
    id = first.json()["id"]
    assert again.json()["id"] == id and len(id) == 12 and int(id, 16)
    assert first.headers["Location"] == first.json()["links"]["self"] == f"/protocols/{id}"
    assert [line["id"] for line in waiting.get("/protocols").json()] == [id]
    until(lambda: (stage := waiting.get(f"/protocols/{id}").json()["stage"]) and stage["name"] == "lung U-Net")
    answer = waiting.get(f"/protocols/{id}").json()
    assert (answer["state"], answer["executor"], answer["slots"], answer["seconds_left"]) == ("preparing", "process", 2, None)
    run = records(settings)[id]
    assert (run.info.status, run.data.tags["mdmt.data"]) == ("RUNNING", str(phantom))
    client = Tracking(default_uri(settings.home), settings.home, ask=False).client
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["recipe.json"]


def test_whether_a_version_may_become_champion_is_taken_over_while_it_waits_or_works_and_at_the_next_start(
    waiting: TestClient, settings: Settings, phantom: Path
) -> None:
    works, waits = recipe_on(phantom, seed=1), recipe_on(phantom, seed=2)
    ids = [waiting.post("/protocols", json=submission(recipe)).json()["id"] for recipe in (works, waits)]
    until(lambda: state_of(waiting, ids[0]) == "preparing")
    for id, recipe in zip(ids, (works, waits), strict=True):
        answer = waiting.post("/protocols", json=submission(recipe, promote=False))
        assert (answer.status_code, answer.json()["id"], answer.json()["promote"]) == (200, id, False)
        assert records(settings)[id].data.tags["mdmt.promote"] == "false"
        assert answer.json()["recent"][-1] == "its version will not be promoted"
    assert [state_of(waiting, id) for id in ids] == ["preparing", "queued"]


def test_a_version_that_is_being_registered_is_told_to_be_settled(waiting: TestClient, settings: Settings, phantom: Path) -> None:
    recipe = recipe_on(phantom)
    id = waiting.post("/protocols", json=submission(recipe)).json()["id"]
    until(lambda: state_of(waiting, id) == "preparing")
    ledger = waiting.app.state.ledger  # type: ignore[attr-defined]
    ledger.get(id).move("registering")
    answer = waiting.post("/protocols", json=submission(recipe, promote=False))
    assert (answer.status_code, answer.json()["code"]) == (409, "registering")
    assert "promote=true" in answer.json()["detail"]
    assert waiting.post("/protocols", json=submission(recipe)).status_code == 200
    assert records(settings)[id].data.tags["mdmt.promote"] == "true"


def test_what_the_service_submits_to_itself_at_its_start_does_not_undo_what_was_asked_for(
    settings: Settings, phantom: Path
) -> None:
    recipe = recipe_on(phantom)
    with service(settings, wait_for_ever) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        id = client.post("/protocols", json=submission(recipe, promote=False)).json()["id"]
    with service(settings, wait_for_ever, Order(recipe, phantom, True)) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        assert client.get(f"/protocols/{id}").json()["promote"] is False


def test_cancelling_twice_is_cancelling_once_and_submitting_again_goes_on(
    waiting: TestClient, settings: Settings, phantom: Path
) -> None:
    recipe = recipe_on(phantom)
    id = waiting.post("/protocols", json=submission(recipe)).json()["id"]
    until(lambda: state_of(waiting, id) == "preparing")
    assert waiting.delete(f"/protocols/{id}").status_code in (200, 202)
    until(lambda: state_of(waiting, id) == "cancelled")
    twice = waiting.delete(f"/protocols/{id}")
    assert (twice.status_code, twice.json()["state"]) == (200, "cancelled")
    run = records(settings)[id]
    assert run.info.status == "KILLED"
    assert waiting.post("/protocols", json=submission(recipe)).status_code == 202
    until(lambda: state_of(waiting, id) == "preparing")
    assert records(settings)[id].info.run_id == run.info.run_id
    assert records(settings)[id].info.status == "RUNNING"


def test_a_second_protocol_waits_its_turn_and_can_be_cancelled_while_it_waits(
    waiting: TestClient, settings: Settings, phantom: Path
) -> None:
    one, two, three = (
        waiting.post("/protocols", json=submission(recipe_on(phantom, seed=seed))).json()["id"] for seed in (1, 2, 3)
    )
    until(lambda: state_of(waiting, one) == "preparing")
    assert [state_of(waiting, two), state_of(waiting, three)] == ["queued", "queued"]
    answer = waiting.delete(f"/protocols/{two}")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    waiting.delete(f"/protocols/{one}")
    until(lambda: state_of(waiting, three) == "preparing")
    assert [line["state"] for line in waiting.get("/protocols").json()] == ["cancelled", "cancelled", "preparing"]
    assert {id: run.info.status for id, run in records(settings).items()} == {one: "KILLED", two: "KILLED", three: "RUNNING"}


def test_a_stage_that_keeps_failing_ends_the_protocol_with_what_it_said_and_the_next_one_begins(
    settings: Settings, phantom: Path
) -> None:
    with service(settings, fail) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        one, two = (client.post("/protocols", json=submission(recipe_on(phantom, seed=s))).json()["id"] for s in (1, 2))
        until(lambda: state_of(client, two) == "failed")
        answer = client.get(f"/protocols/{one}").json()
        assert answer["state"] == "failed"
        assert "no room for the U-Net" in answer["note"]
        log = client.get(f"/protocols/{one}/logs")
        assert "attempt 1 of 2" in log.text
        rest = client.get(f"/protocols/{one}/logs", params={"offset": log.headers["Next-Offset"]})
        assert (rest.text, rest.headers["Next-Offset"]) == ("", log.headers["Next-Offset"])
        run = records(settings)[one]
        assert run.info.status == "FAILED"
        assert "no room for the U-Net" in run.data.tags["mlflow.note.content"]


def test_a_recipe_that_asks_for_tables_nobody_measured_ends_before_any_stage(settings: Settings, phantom: Path) -> None:
    def never(_: Obedient, arguments: Sequence[str]) -> None:
        raise AssertionError(f"{arguments} was started")

    recipe = recipe_on(phantom, device="cuda", running={"units_per_gpu": "measured"})
    with service(settings, never) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        id = client.post("/protocols", json=submission(recipe)).json()["id"]
        until(lambda: state_of(client, id) == "failed")
        assert "Run `mdmt sharing --recipe FILE --device cuda`" in client.get(f"/protocols/{id}").json()["note"]


def test_a_service_that_is_started_again_goes_on_oldest_first_and_remembers_what_is_over(
    settings: Settings, phantom: Path
) -> None:
    with service(settings, wait_for_ever) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        one, two, three = (
            client.post("/protocols", json=submission(recipe_on(phantom, seed=seed))).json()["id"] for seed in (1, 2, 3)
        )
        until(lambda: state_of(client, one) == "preparing")
        client.delete(f"/protocols/{two}")
    assert {id: run.info.status for id, run in records(settings).items()} == {one: "RUNNING", two: "KILLED", three: "RUNNING"}
    with service(settings, wait_for_ever) as client:
        until(lambda: client.get("/protocols").status_code == 200)
        until(lambda: state_of(client, one) == "preparing")
        assert [line["id"] for line in client.get("/protocols").json()] == [one, two, three]
        assert [state_of(client, two), state_of(client, three)] == ["cancelled", "queued"]


def test_protocols_of_another_installation_on_the_same_server_are_left_alone(settings: Settings, phantom: Path) -> None:
    with service(settings, wait_for_ever) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        client.post("/protocols", json=submission(recipe_on(phantom)))
    other = settings.model_copy(update={"stack": "other"})
    with service(other, wait_for_ever) as client:
        assert until(lambda: (a := client.get("/protocols")).status_code == 200 and a).json() == []


def test_a_recipe_that_is_gone_from_the_state_folder_is_read_from_mlflow(settings: Settings, phantom: Path) -> None:
    with service(settings, wait_for_ever) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        id = client.post("/protocols", json=submission(recipe_on(phantom))).json()["id"]
    (settings.home / "protocols" / id / "recipe.json").unlink()
    with service(settings, wait_for_ever) as client:
        until(lambda: client.get("/protocols").status_code == 200)
        until(lambda: state_of(client, id) == "preparing")


def test_events_begin_with_how_it_stands_and_a_reader_that_was_cut_off_goes_on_where_it_was(
    settings: Settings, phantom: Path
) -> None:
    with service(settings, fail) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        id = client.post("/protocols", json=submission(recipe_on(phantom))).json()["id"]
        heard = frames(client.get(f"/protocols/{id}/events").text)  # ends when the protocol does
        assert heard[0]["event"] == "snapshot" and heard[0]["data"]["id"] == id
        assert heard[-1]["event"] == "state" and heard[-1]["data"]["state"] == "failed"
        cut = len(heard) // 2
        rest = frames(client.get(f"/protocols/{id}/events", headers={"Last-Event-ID": heard[cut]["id"]}).text)
        assert rest == heard[cut + 1 :]
        assert client.get(f"/protocols/{id}/events", headers={"Last-Event-ID": heard[-1]["id"]}).status_code == 204
        for unknown in ("", "gone-3", heard[0]["id"].split("-")[0] + "-99999", "x" * 500):
            begin = frames(client.get(f"/protocols/{id}/events", headers={"Last-Event-ID": unknown}).text)
            assert [frame["event"] for frame in begin] == ["snapshot"]


def test_units_and_protocols_are_counted_for_a_monitor(waiting: TestClient, phantom: Path) -> None:
    id = waiting.post("/protocols", json=submission(recipe_on(phantom))).json()["id"]
    until(lambda: state_of(waiting, id) == "preparing")
    text = waiting.get("/metrics").text
    assert 'mdmt_protocols{state="preparing"} 1.0' in text
    assert 'mdmt_units{state="running"} 0.0' in text
    assert "mdmt_trainer_ready 1.0" in text


def test_what_passes_by_itself_is_waited_for_and_no_attempt_is_counted(settings: Settings, phantom: Path) -> None:
    calls: list[int] = []

    def away_for_a_while(executor: Obedient, arguments: Sequence[str]) -> None:
        calls.append(1)
        if len(calls) <= 4:
            raise requests.ConnectionError("MLflow is away")
        wait_for_ever(executor, arguments)

    with service(settings, away_for_a_while) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        id = client.post("/protocols", json=submission(recipe_on(phantom))).json()["id"]
        until(lambda: len(calls) == 5)
        assert state_of(client, id) == "preparing"
        assert client.get(f"/protocols/{id}").json()["waiting_for"] is None
        assert "waiting: MLflow is away" in client.get(f"/protocols/{id}/logs").text


def test_a_stage_that_breaks_while_it_is_being_cancelled_is_cancelled_and_not_failed(settings: Settings, phantom: Path) -> None:
    def break_when_stopped(executor: Obedient, arguments: Sequence[str]) -> None:
        executor.stop.wait()
        fail(executor, arguments)

    with service(settings, break_when_stopped) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        id = client.post("/protocols", json=submission(recipe_on(phantom))).json()["id"]
        until(lambda: client.get(f"/protocols/{id}").json()["stage"])
        client.delete(f"/protocols/{id}")
        until(lambda: state_of(client, id) == "cancelled")
    assert records(settings)[id].info.status == "KILLED"
