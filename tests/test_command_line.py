"""The command line as a person uses it: help for every verb, instant and free of torch; refusals in a sentence and by exit code."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import mdmt
from tests.services.test_console import REPORT
from training.data.cohorts.phantom import PhantomSpec
from training.protocol.recipe import RECIPES, load_recipe

REPO = Path(__file__).parents[1]
VERBS = [[command.callback.__name__] for command in mdmt.app.registered_commands]
VERBS += [[group.name] for group in mdmt.app.registered_groups]
VERBS += [
    [group.name, command.name] for group in mdmt.app.registered_groups for command in group.typer_instance.registered_commands
]


def run(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`mdmt …` as a process of its own, from an empty folder."""
    return python(str(REPO / "mdmt.py"), *arguments, home=home, **environment)


def python(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MDMT_"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=home,
        env=clean | {"MDMT_HOME": str(home / "state"), "PYTHONPATH": str(REPO), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_has_help_that_says_what_it_does(verb: list[str]) -> None:
    result = CliRunner().invoke(mdmt.app, [*verb, "--help"])
    assert result.exit_code == 0
    assert len(result.output.split("Usage:")[1].strip().splitlines()) > 3


def test_the_table_of_contents_lists_every_verb() -> None:
    text = CliRunner().invoke(mdmt.app, ["--help"]).output
    assert all(verb[0] in text for verb in VERBS)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--help"),
        *((verb, "--recipe", "demmo") for verb in ("prepare", "plan", "run", "report", "tune", "register", "sharing")),
        ("segmenter", "train", "--recipe", "demmo"),
        ("starts", "films", "own", "--recipe", "demmo"),
        ("starts", "unit", "own", "--recipe", "demmo", "--experiment", "zones"),
    ],
    ids=" ".join,
)
def test_help_and_the_refusal_of_an_unknown_recipe_wait_for_no_library(arguments: tuple[str, ...]) -> None:
    ask = f"""
import sys, mdmt
sys.argv = ["mdmt", *{arguments!r}]
try:
    mdmt.main()
except SystemExit:
    pass
heavy = {{"torch", "mlflow", "onnxruntime", "pandas", "fastapi", "matplotlib", "sklearn", "scipy"}}
print("LOADED", sorted(heavy & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", ask], cwd=REPO, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.splitlines()[-1] == "LOADED []"
    assert ("no recipe 'demmo'" in result.stderr) == ("demmo" in arguments)


def test_an_unknown_recipe_exits_with_1_and_names_the_shipped_ones_on_standard_error(tmp_path: Path) -> None:
    result = run("run", "--recipe", "demmo", home=tmp_path)
    assert result.returncode == 1
    assert "error: no recipe 'demmo'" in result.stderr
    assert all(name in result.stderr for name in RECIPES)
    assert "Traceback" not in result.stderr
    assert result.stdout.strip() == ""
    assert not (tmp_path / "state").exists()


def test_a_recipe_is_printed_as_the_json_file_that_a_copy_of_it_begins_with(tmp_path: Path) -> None:
    result = run("plan", "--recipe", "paper", "--json", home=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    copy = tmp_path / "mine.json"
    copy.write_text(result.stdout, encoding="utf-8")
    assert load_recipe(str(copy)) == load_recipe("paper")
    assert load_recipe(str(copy)).digest() == load_recipe("paper").digest()


def test_missing_data_and_a_missing_service_are_refused_in_a_sentence(tmp_path: Path) -> None:
    result = run("ui", home=tmp_path)
    assert (result.returncode, "run a recipe first" in result.stderr) == (1, True)
    (tmp_path / "film.png").write_bytes(b"film")
    result = run("predict", "film.png", "--url", "http://127.0.0.1:9", home=tmp_path)
    assert (result.returncode, "no service answers at http://127.0.0.1:9" in result.stderr) == (1, True)
    assert "Traceback" not in result.stderr


def test_wrong_usage_exits_with_2(tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(mdmt.app, ["run", "--recipee", "demo"]).exit_code == 2
    assert runner.invoke(mdmt.app, ["run", "--workers", "0"]).exit_code == 2
    assert runner.invoke(mdmt.app, ["promot"]).exit_code == 2
    for verb in ("ui", "serve", "trainer", "launcher"):
        assert runner.invoke(mdmt.app, [verb, "--port", "99999"]).exit_code == 2


def test_a_port_that_is_taken_and_a_folder_that_cannot_be_written_are_named_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("trainer", "--port", str(port), home=tmp_path)
    assert result.returncode == 1
    assert f"error: cannot listen on 127.0.0.1, port {port}: " in result.stderr and "Address already in use" in result.stderr
    assert "--port" in result.stderr and "Traceback" not in result.stderr
    result = run("phantom", "--folder", "/proc/x", home=tmp_path)
    assert result.returncode == 1
    assert "error: cannot write /proc/x: No such file or directory" in result.stderr
    assert "--folder" in result.stderr and "Traceback" not in result.stderr


def test_a_message_is_printed_as_it_is_whatever_brackets_it_has(tmp_path: Path) -> None:
    names = ("[bold].json", "[/red].json")
    ask = f"""
import sys, mdmt
for name in {names}:
    sys.argv = ["mdmt", "run", "--recipe", name]
    try:
        mdmt.main()
    except SystemExit as end:
        print("ENDED", end.code)
"""
    for name in names:
        (tmp_path / name.replace("/", "")).write_text('{"name": ["a"]}')
    result = python("-c", ask, home=tmp_path)
    assert result.stdout.split() == ["ENDED", "1"] * 2
    assert all(name in result.stderr for name in names)
    assert "Traceback" not in result.stderr


def test_a_phantom_that_is_there_is_reported_and_left_alone(tmp_path: Path) -> None:
    spec = PhantomSpec.small(prognosis_films=9, severity_films=3)
    marker = tmp_path / "phantom.json"
    marker.write_text(json.dumps({"digest": spec.digest(), "report": REPORT.model_dump()}))
    before = marker.stat().st_mtime_ns
    result = CliRunner().invoke(mdmt.app, ["phantom", "--folder", str(tmp_path), "--prognosis", "9", "--severity", "3"])
    assert result.exit_code == 0, result.output
    assert marker.stat().st_mtime_ns == before
    assert list(tmp_path.iterdir()) == [marker]


def test_warnings_of_the_processes_that_prepare_films_withhold_their_texts_too(tmp_path: Path) -> None:
    begins = "import warnings\nfrom training.data.films.work import attend\nattend()\nwarnings.warn('CANARY')\n"
    result = python("-c", begins, home=tmp_path)
    assert result.returncode == 0
    assert "UserWarning" in result.stderr and "CANARY" not in result.stderr


def test_sigterm_interrupts_a_run_as_ctrl_c_does(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(mdmt, "study", lambda *_: signal.raise_signal(signal.SIGTERM))
    monkeypatch.setattr(mdmt, "withhold_texts", lambda: None)  # it is for a whole process
    monkeypatch.setattr(sys, "argv", ["mdmt", "run"])
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with pytest.raises(SystemExit) as end:
            mdmt.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert end.value.code == 130
    assert capsys.readouterr().err.strip() == "interrupted; what is finished is kept, the same command goes on"
