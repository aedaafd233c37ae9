"""`mdmt sharing`: what is known is shown, what is not is measured once, and `mdmt run` follows it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import mdmt
from tests.services.trainer.ground import PHANTOM, recipe_on
from tests.training.test_sharing import table
from training.data.cohorts.phantom import generate
from training.imagenet import WeightsNotFound
from training.protocol.recipe import Recipe
from training.protocol.sharing import work_of
from training.sharing import kind_of_cpu, tables, write
from training.side_by_side import MeasuringFailed


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("phantom")
    generate(data, PHANTOM, workers=1)
    return data


@pytest.fixture
def home(new_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    home = new_home()
    monkeypatch.setenv("MDMT_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return home


def recipe_file(folder: Path, recipe: Recipe) -> Path:
    path = folder / "recipe.json"
    path.write_text(recipe.model_dump_json())
    return path


def called(*arguments: object) -> str:
    done = CliRunner().invoke(mdmt.app, [str(one) for one in arguments])
    if done.exception:
        raise done.exception
    return " ".join(done.output.split())


def write_tables(home: Path, recipe: Path, *rates: float) -> None:
    study = mdmt.study(str(recipe), None, 1)
    for asked in work_of(study.outline().distinct.values(), "cpu"):
        write(home, table(asked, *rates, kind=kind_of_cpu()))


def test_what_is_known_is_shown_with_its_gain_and_what_follows(home: Path, phantom: Path, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, recipe_on(phantom))
    write_tables(home, recipe, 100, 163, 165)
    said = called("sharing", "--recipe", recipe)
    assert "shufflenet_v2_x0_5 (64 px, batch 16, threads 1, float32)" in said
    assert "163.0 │ 1.63×" in said
    assert "this host should run 2 worker(s) of 1 thread(s), which `mdmt run` does by itself" in said


def test_a_table_that_ends_too_soon_is_said_to_settle_nothing(home: Path, phantom: Path, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, recipe_on(phantom))
    write_tables(home, recipe, 100, 163)
    assert "`mdmt run --workers 2`; more may be better still" in called("sharing", "--recipe", recipe)


def test_a_run_without_workers_says_that_it_follows_the_tables(home: Path, phantom: Path, tmp_path: Path) -> None:
    pretrained = recipe_on(
        phantom, backbones=({"name": "resnet18", "weights": "imagenet"},)
    )  # of which there are none: it ends soon
    recipe = recipe_file(tmp_path, pretrained)
    write_tables(home, recipe, 100, 163, 165)
    for arguments, expected in ((), True), (("--workers", "1"), False):
        done = CliRunner().invoke(mdmt.app, ["run", "--recipe", str(recipe), *arguments])
        assert isinstance(done.exception, WeightsNotFound)
        assert ("2 worker(s), as `mdmt sharing` measured on this host" in done.output) is expected


def test_a_gpu_that_is_not_there_cannot_be_measured(home: Path, phantom: Path, tmp_path: Path) -> None:
    with pytest.raises(MeasuringFailed, match="no GPU is visible here"):
        called("sharing", "--recipe", recipe_file(tmp_path, recipe_on(phantom)), "--device", "cuda")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_is_missing_is_measured_once_and_kept(home: Path, phantom: Path, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, recipe_on(phantom))
    command = ("sharing", "--recipe", recipe, "--most", 2, "--seconds", 0.2)
    first = called(*command)
    (known,) = tables(home)[kind_of_cpu()].values()
    assert [row.processes for row in known.rows] == [1, 2]
    assert called(*command) == first
