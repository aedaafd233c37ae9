"""`mdmt films`: what lies on the shelf, and dropping only what no recipe needs."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxr.pipeline import PipelineSpec
from services.commands.films import films_app
from tests.serving.tiny_bundle import write_bundle
from tests.training.data.films.ground import tiny_cohort
from tests.training.protocol.tiny import tiny_recipe
from training.data.cohort import Cohort
from training.data.films import FilmStore, prepare_cohort
from training.protocol import lung_unet
from training.protocol.recipe import CohortSource, Recipe
from training.protocol.recipes import demo

OWN = PipelineSpec(size=64, margin=0.11)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle") / "segmenter.onnx"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MDMT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def prepared(home: Path, graph: Path, name: str, spec: PipelineSpec) -> FilmStore:
    cohort = tiny_cohort(home / "images")
    return prepare_cohort(Cohort(name, cohort.rows), home / "films", spec, graph, 1)


def on_own_spec(tmp_path: Path) -> tuple[Recipe, Path]:
    """A recipe of its own in a file, with a folder where its lung masks would be."""
    own = tiny_recipe().model_copy(
        update={"pipeline": OWN, "data": (str(tmp_path / "own"),), "cohorts": (CohortSource(name="tiny", reader="x", path="x"),)}
    )
    (tmp_path / "own" / own.segmenter.pairs).mkdir(parents=True)
    path = tmp_path / "own.json"
    path.write_text(own.model_dump_json())
    return own, path


def films(*arguments: str, answer: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(films_app, list(arguments), input=answer, catch_exceptions=False)
    return done.exit_code, done.output


def test_a_store_is_listed_with_the_recipes_that_need_it(home: Path, graph: Path) -> None:
    needed = prepared(home, graph, "aiforcovid", demo.recipe().pipeline)
    idle = prepared(home, graph, "tiny", OWN)
    code, said = films("list")
    rows = {line.split()[1]: line for line in said.splitlines() if line.startswith("│")}
    assert code == 0
    assert "demo" in rows[needed.folder.name] and "openvino" in rows[needed.folder.name]
    assert "nothing" in rows[idle.folder.name]


def test_prune_asks_and_drops_what_no_recipe_needs_and_nothing_else(home: Path, graph: Path) -> None:
    needed = prepared(home, graph, "aiforcovid", demo.recipe().pipeline)
    idle = prepared(home, graph, "tiny", OWN)
    code, said = films("prune", answer="n\n")
    assert code == 1 and "drop 1 store(s)?" in said and idle.folder.exists()
    code, said = films("prune", "--yes")
    assert code == 0 and not idle.folder.exists() and needed.folder.exists()
    freed = int(said.splitlines()[-1].split()[0].replace(",", ""))
    assert freed >= 4 * 64 * 64
    assert films("prune", "--yes")[1].endswith("nothing to drop: each of 1 store(s) is needed\n")


def test_the_store_of_a_recipe_at_hand_is_kept_and_that_of_its_earlier_unet_is_not(
    home: Path, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = on_own_spec(tmp_path)
    earlier = tmp_path / "earlier.onnx"
    earlier.write_bytes(graph.read_bytes() + b"\x7a\x00")
    used, unused = prepared(home, graph, "tiny", OWN), prepared(home, earlier, "tiny", OWN)
    said = films("prune", "--recipe", str(path), "--yes")[1]
    assert said.endswith("each of 2 store(s) is needed\n"), "its U-Net cannot be told: both are kept"
    monkeypatch.setattr(lung_unet, "find_segmenter", lambda *_: lung_unet.LungUnet(graph, "f"))
    films("prune", "--recipe", str(path), "--yes")
    assert used.folder.exists() and not unused.folder.exists()


def test_a_recipe_that_was_submitted_keeps_its_store(home: Path, graph: Path, tmp_path: Path) -> None:
    own, _ = on_own_spec(tmp_path)
    store = prepared(home, graph, "tiny", OWN)
    folder = home / "protocols" / "0123456789ab"
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(own.model_dump_json())
    films("prune", "--yes")
    assert store.folder.exists()


def test_an_empty_shelf_is_no_error(home: Path) -> None:
    assert films("list")[0] == 0
    assert films("prune", "--yes") == (0, "nothing to drop: each of 0 store(s) is needed\n")
