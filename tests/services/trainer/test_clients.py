"""`mdmt submit`, `status`, `cancel` and `logs` against a service that listens on a real port."""

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from rich.console import Console
from typer.testing import CliRunner

import mdmt
from services.live_view import follow, listing, picture
from services.trainer.app import create_app
from services.trainer.client import Client, ServiceAway, ServiceRefused
from services.trainer.settings import Settings
from tests.services.trainer.ground import Obedient, fail, recipe_on, submission, until
from training.tracking import default_uri

ANSWER = {
    "id": "0123456789ab", "recipe": "tiny", "state": "running", "note": "", "submitted": "2026-11-23T10:00:00.000+00:00",
    "executor": "process", "slots": 2, "cancel_requested": False, "waiting_for": None, "stage": None, "seconds_left": 75.0,
    "units": {"waiting": 5, "running": 2, "done": 3, "failed": 0, "skipped": 0, "total": 10},
    "experiments": [
        {"experiment": "mdmt", "scheme": "cv", "subset": "all", "total": 10, "waiting": 5, "running": 2, "done": 3, "failed": 0,
         "skipped": 0},
    ],
    "failures": [{"unit": "ft/x/cv/cv-1", "reason": "ran [out] of memory", "final": False}],
    "recent": ["claimed mdmt/x/cv/cv-0"],
}  # fmt: skip


@pytest.fixture(scope="module")
def url(new_home: Callable[[], Path], phantom: Path) -> Iterator[str]:
    """A service whose first stage fails; one of seed 7 goes on for ever."""

    def does(executor: Obedient, arguments: list[str]) -> None:
        recipe = Path(arguments[arguments.index("--recipe") + 1])
        if '"seed": 7' in recipe.read_text():
            executor.stop.wait()
        fail(executor, arguments)

    home = new_home()
    settings = Settings(home=home, tracking_uri=default_uri(home), retry_seconds=0.2, stage_attempts=1)
    app = create_app(settings, lambda _, stop: Obedient(stop, does))  # type: ignore[arg-type]
    config = uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1)
    socket = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    address = f"http://127.0.0.1:{socket.getsockname()[1]}"
    until(lambda: server.started)
    until(lambda: app.state.ledger._records)
    yield address
    server.should_exit = True
    thread.join(10)


def run(*arguments: str, url: str) -> tuple[int, str]:
    answer = CliRunner().invoke(mdmt.app, [*arguments, "--url", url], env={"COLUMNS": "200"})
    if isinstance(answer.exception, ServiceRefused):
        raise answer.exception
    return answer.exit_code, answer.stdout


def test_a_recipe_is_submitted_followed_to_its_end_listed_shown_and_its_log_read(url: str, phantom: Path, tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(recipe_on(phantom).model_dump_json())
    code, said = run("submit", str(file), "--follow", url=url)
    assert code == 1
    assert "failed" in said and "no room for the U-Net" in said
    (line,) = Client(url).all()
    assert line["id"] in run("status", url=url)[1]
    assert "no room for the U-Net" in run("status", line["id"][:5], url=url)[1]
    code, log = run("logs", line["id"], "--follow", url=url)
    assert code == 0
    assert log.count("stage: lung U-Net") == 1


def test_who_submits_what_is_being_worked_on_hears_what_becomes_of_the_version(url: str, phantom: Path, tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(recipe_on(phantom, seed=7).model_dump_json())
    code, said = run("submit", str(file), url=url)
    assert code == 0 and "submitted before" not in said
    code, said = run("submit", str(file), "--no-promote", url=url)
    assert code == 0 and "it was submitted before and goes on; its version will not be promoted, as asked now" in said
    assert "it was submitted before and goes on; its version may become champion" in run("submit", str(file), url=url)[1]
    (id,) = [line["id"] for line in Client(url).all() if line["state"] not in ("failed", "cancelled")]
    Client(url).cancel(id)
    until(lambda: Client(url).get(id)["state"] == "cancelled")


def test_a_protocol_is_cancelled_by_the_first_digits_of_its_id(url: str, phantom: Path) -> None:
    id = Client(url).submit(submission(recipe_on(phantom, seed=7))["recipe"], None, True)[0]["id"]
    until(lambda: Client(url).get(id)["stage"])
    code, said = run("cancel", id[:6], url=url)
    assert code == 0
    assert id in said
    assert [answer["state"] for answer in Client(url).follow(id)][-1] == "cancelled"


def test_what_the_service_refuses_is_a_sentence(url: str, tmp_path: Path, phantom: Path) -> None:
    with pytest.raises(ServiceRefused, match=r"No such recipe is shipped; there are: demo, paper"):
        run("submit", "dem", url=url)
    with pytest.raises(ServiceRefused, match=r"No such protocol: No protocol has this id\. GET /protocols lists them"):
        run("status", "0123456789ab", url=url)
    with pytest.raises(ServiceRefused, match=r"0 protocols have an id that begins with 'zz'"):
        run("cancel", "zz", url=url)


def test_a_service_that_is_not_there_is_named_with_the_way_to_start_it() -> None:
    with pytest.raises(ServiceAway, match=r"no training service answers at http://127\.0\.0\.1:9 .*`mdmt trainer`"):
        run("status", url="http://127.0.0.1:9")


def test_the_picture_has_a_bar_per_experiment_the_states_the_time_left_and_the_latest_events() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(picture(ANSWER))
    text = console.export_text()
    for words in (
        "running",
        "mdmt cv",
        "3/10",
        "5 waiting, 2 running, 3 done",
        "0:01:15 left",
        "ran [out] of memory",
        "claimed mdmt",
    ):
        assert words in text
    console.print(picture(ANSWER | {"state": "preparing", "stage": {"name": "films"}, "units": None, "experiments": []}))
    console.print(picture(ANSWER | {"waiting_for": "MLflow", "cancel_requested": True, "note": "x"}))
    text = console.export_text()
    assert "now: films" in text and "waiting: MLflow" in text and "being cancelled" in text
    console.print(listing([ANSWER, ANSWER | {"state": "failed", "note": "[/] no room"}]))
    assert "[/] no room" in console.export_text()


def test_where_nobody_can_watch_a_line_is_printed_for_every_change_and_none_twice() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    last = follow([ANSWER, dict(ANSWER), ANSWER | {"state": "finished", "note": "version 1"}], console)
    assert last["state"] == "finished"
    assert len(console.export_text().splitlines()) == 2
