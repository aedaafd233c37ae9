"""Both parts of the page from studies that really ran: generated chests in the layout of the public films, one small network."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr.pipeline import PipelineSpec
from cxr.tasks import SECOND, SECOND_ZONES, ZONES
from services.executors.process import ProcessExecutor
from tests.cxr.chests import chest
from tests.serving.tiny_bundle import _segmenter
from tests.training.protocol.test_study import Quiet
from training.evidence import films as numbers_of_films
from training.evidence import prognosis, served, severity
from training.evidence.answers import answered
from training.evidence.page import markdown
from training.evidence.variants import unfinished
from training.protocol import lung_unet
from training.protocol.experiments import Experiment
from training.protocol.lung_unet import LungUnet
from training.protocol.recipe import SERVED, BackboneChoice, CohortSource, Recipe, Scheme, SegmenterChoice, Subset, variants
from training.protocol.study import Study
from training.settings import Training
from training.tracking import Tracking, default_uri

pytestmark = pytest.mark.long

FILMS = 24
READERS = tuple(f"{reader}-{column}" for reader in "SJ" for column in (*"ABCDEF", "Global"))
TASKS = ("severity", *(zone.name for zone in ZONES), SECOND.name, *(zone.name for zone in SECOND_ZONES))
LEVER = Experiment(name="zones", title="zones as tasks", tasks=TASKS, training={"ranked": list(TASKS), "test_views": 2})


def write_films(root: Path) -> Path:
    """FILMS films with an outcome, two of each patient, and FILMS with scores by two readers, of patients of their own."""
    rng = np.random.default_rng(0)
    for folder, first in (("public-prognosis/images", 0), ("brixia-cohen/images", 100)):
        (root / folder).mkdir(parents=True)
        for i in range(FILMS):
            Image.fromarray(chest(first + i)).save(root / folder / f"{i}.png")
    labels = ["image,patient_id,centre,label,view,phase,confidence,age,sex"]
    labels += [
        f"images/{i}.png,P{i // 2},{('ITALY', 'SPAIN')[i // 4 % 2]},{('MILD', 'SEVERE')[i // 2 % 2]},{('PA', 'AP')[i % 2]},not_in_icu,high,"
        f"{40 + i},{'MF'[i % 2]}"
        for i in range(FILMS)
    ]
    (root / "public-prognosis/labels.csv").write_text("\n".join(labels))
    scores = [",".join(("filename", *READERS))]
    for i in range(FILMS):
        senior = np.full(6, i % 4)  # every category as often
        junior = np.clip(senior + (rng.random(6) < 0.2), 0, 3)
        scores.append(",".join(map(str, (f"{i}.png", *senior, senior.sum(), *junior, junior.sum()))))
    (root / "brixia-cohen/public-annotations.csv").write_text("\n".join(scores))
    index = ["filename,patient_id,view,finding", *(f"{i}.png,COHEN-{1000 + i},PA,COVID" for i in range(FILMS))]
    (root / "brixia-cohen/index.csv").write_text("\n".join(index))
    return root


def recipe(parts: tuple[str, ...], experiments: tuple[str, ...], **changes: object) -> Recipe:
    cohorts = tuple(CohortSource(name=part, reader="public_cxr", path=".", options={"part": part}) for part in parts)
    return Recipe(**({
        "name": f"tiny-{parts[0]}", "description": "as small as it gets", "data": ("nowhere",), "cohorts": cohorts, "headline": parts[0],
        "segmenter": SegmenterChoice(preset="real"), "pipeline": PipelineSpec(size=64), "experiments": experiments,
        "backbones": (BackboneChoice(name="shufflenet_v2_x0_5", weights="scratch"),), "own_experiments": (LEVER,),
        "schemes": (Scheme(kind="cv", folds=2),), "training": Training(batch_size=8, max_epochs=1, warmup_epochs=0, hidden=8),
    } | changes))  # fmt: skip


@pytest.fixture(scope="module")
def studied(new_home: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Recipe], Study]]:
    """Runs a recipe on the films, and gives its study."""
    films, home = write_films(tmp_path_factory.mktemp("films")), new_home()
    graph = home / "segmenter.onnx"
    graph.write_bytes(_segmenter())

    def run(wanted: Recipe) -> Study:
        study = Study(wanted, films, Tracking(default_uri(home), home), ProcessExecutor(1), 1)
        assert not study.run(Quiet()).failed
        return study

    with pytest.MonkeyPatch.context() as patch:
        for name in ("ensure_segmenter", "find_segmenter"):
            patch.setattr(lung_unet, name, lambda *_: LungUnet(graph, "f"))
        yield run


def test_severity_is_shown_beside_both_radiologists(studied: Callable[[Recipe], Study]) -> None:
    study = studied(recipe(("severity",), ("stl-severity", "zones"), schemes=(Scheme(kind="cv", folds=2, repeats=2),)))
    found = answered(study, Quiet())
    assert {(one.experiment, one.repeat, one.task) for one in found} == {
        *(("stl-severity", repeat, "severity") for repeat in (0, 1)),
        *(("zones", repeat, task) for repeat in (0, 1) for task in TASKS),
    }
    assert all([row.id for row in one.rows] == [row.id for row in found[0].rows] and len(one.rows) == FILMS for one in found)
    part = severity.part(study, Quiet())
    text = markdown(part)
    for said in (
        "| junior radiologist |",
        "zones as tasks, both repeats together",
        "all networks with zones together",
        "| zones as tasks |",
        "8 of 8 trainings",
        "coverage 3",
    ):
        assert said in text
    assert set(part.pictures) == {"severity.png", "severity-reliability.png"}
    assert all(picture.startswith(b"\x89PNG") for picture in part.pictures.values())
    assert not [row.id for row in found[0].rows if f"{row.id}" in text] and "COHEN-1" not in text


def test_prognosis_is_shown_with_its_controls(studied: Callable[[Recipe], Study]) -> None:
    study = studied(recipe(("prognosis", "severity"), ("stl-prognosis", "stl-severity", "mdmt")))
    text = markdown(prognosis.part(study, Quiet()))
    for said in (
        "24 films of 12 patients: 12 MILD (6 patients), 12 SEVERE (6)", "| view position alone | 24 |", "| age group and sex alone | 24 |",
        "MDMT is above STL τ1 on", "| looking everywhere alike | – | – | 48 |",
        "| shufflenet_v2_x0_5 | prognosis | label |", "centre: ITALY", "6 of 6 trainings",
    ):  # fmt: skip
        assert said in text, said
    assert "P1," not in text and "/0.png" not in text


def test_what_is_served_is_shown_beside_the_junior_and_beside_view_alone(studied: Callable[[Recipe], Study]) -> None:
    both = Experiment(name=SERVED, title="both", tasks=("prognosis", *TASKS), answers=("prognosis", "severity"))
    study = studied(recipe(("prognosis", "severity"), (SERVED,), own_experiments=(both,), registered_name="mdmt-tiny"))
    text = markdown(served.part(study, Quiet()))
    for said in (
        "registered as `mdmt-tiny`", "| junior radiologist |",
        "| the category answered, `tiny-prognosis`, the film in the lungs' box |",
        "| from all that was learnt, `tiny-prognosis`, the film in the lungs' box |",
        "| view position alone | 24 |", "| view position alone | 12 |",
        "| looking at the one best place of each film | – | – | 48 |", "| shufflenet_v2_x0_5 | severity | label |",
    ):  # fmt: skip
        assert said in text, said
    assert "| zone-a |" not in text and "P1," not in text and "COHEN-1" not in text


def test_numbers_of_films_are_shown_with_the_gain_of_each(studied: Callable[[Recipe], Study]) -> None:
    subsets = (
        *(Subset(name=f"{n}-films", at_most={"prognosis": n}) for n in (16, 24)),
        Subset(name="few-scores", at_most={"severity": 20}),
    )
    schemes = (Scheme(kind="cv", folds=2, repeats=2),)
    study = studied(
        recipe(("prognosis", "severity"), ("stl-prognosis", "stl-severity", "mdmt"), subsets=subsets, schemes=schemes)
    )
    part = numbers_of_films.part(study, Quiet())
    text = markdown(part)
    assert "| 16 | 24 | 2 |" in text and "| 24 | 24 | 2 |" in text and "| 24 | 20 | 2 |" in text and "3 subsets" in text
    assert part.pictures["sample-size.png"].startswith(b"\x89PNG")


def test_what_is_not_run_is_known_before_anything_is_prepared(studied: Callable[[Recipe], Study]) -> None:
    study = studied(recipe(("severity",), ("stl-severity",)))
    other = study.beside(recipe(("severity",), ("stl-severity", "zones"), pipeline=PipelineSpec(size=96)))
    assert unfinished(study) == 0 and unfinished(other) == 4
    elsewhere = BackboneChoice(name="shufflenet_v2_x0_5", weights="never-made")
    assert unfinished(study.beside(recipe(("severity",), ("stl-severity",), backbones=(elsewhere,)))) == 2
    assert variants("tiny-severity") == {} and "together" in variants("real-severity")
