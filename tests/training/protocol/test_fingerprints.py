"""What a unit is recognised by: exactly what decides its result, whatever it is called and in whatever order it is written."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.protocol.plans import BASE, COHORTS, by_title, changed, few, plan, rebuilt, recipe, with_dependents
from tests.training.protocol.tiny import stores_of
from training.data.cohort import Cohort
from training.protocol.job import Job
from training.protocol.unit import Unit

places = st.sampled_from([(one.name, row.id) for one in COHORTS for row in one.rows])
units = st.sampled_from(BASE.units)


@few
@given(places)
def test_another_image_changes_exactly_the_units_that_use_it_and_those_that_start_from_them(place: tuple[str, str]) -> None:
    after = plan(films=stores_of(COHORTS, **{"_".join(place): "another image"}))
    using = {unit.title for unit in BASE.units if place in {(s.cohort, s.row) for s in unit.sheet.samples}}
    assert using
    assert changed(BASE, after) == with_dependents(using, BASE)


@few
@given(units, st.integers(0, 10**6), st.sampled_from(["digest", "role", "label", "gone"]))
def test_another_digest_role_or_label_of_one_film_is_another_unit(unit: Unit, which: int, what: str) -> None:
    films = [sample._asdict() for sample in unit.sheet.samples]
    film = films[which % len(films)]
    if what == "gone":
        films.remove(film)
    elif what == "label":
        film["labels"] = {task: 1 - min(index, 1) for task, index in film["labels"].items()}
    else:
        film[what] = {"digest": "another image", "role": "val" if film["role"] != "val" else "train"}[what]
    other = rebuilt(unit, samples=films)
    assert other.fingerprint != unit.fingerprint
    assert other.sheet.digest != unit.sheet.digest


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 2e-3},
        {"betas": (0.8, 0.999)},
        {"batch_size": 17},
        {"warmup": "linear"},
        {"reduction": "mean"},
        {"augmentation": {"shift": 0.2}},
    ],
    ids=str,
)
def test_another_training_setting_changes_every_unit(change: dict[str, object]) -> None:
    training = {**recipe().training.model_dump(), **change}
    assert changed(BASE, plan(recipe(training=training))) == set(by_title(BASE))


@pytest.mark.parametrize(
    "change", [{"beta": 0.4}, {"batch_norm": "average"}, {"seed": 1}, {"size": 128}, {"parents": ("f" * 64, "0" * 64)}], ids=str
)
def test_whatever_else_decides_a_result_is_seen(change: dict[str, object]) -> None:
    unit = by_title(BASE)["mdmt/shufflenet_v2_x0_5-scratch/cv/cv-0"]
    assert rebuilt(unit, **change).fingerprint != unit.fingerprint


def test_the_order_of_parents_is_seen_because_beta_weighs_the_first() -> None:
    unit = by_title(BASE)["mdmt/shufflenet_v2_x0_5-scratch/cv/cv-0"]
    assert rebuilt(unit, parents=unit.parents[::-1]).fingerprint != unit.fingerprint


# --- what it does not see ----------------------------------------------------------------------------------------------


@few
@given(units, st.randoms(use_true_random=False))
def test_the_order_of_samples_changes_neither_fingerprint_nor_what_is_trained_on(unit: Unit, source: random.Random) -> None:
    shuffled = source.sample(unit.sheet.samples, len(unit.sheet.samples))
    other = rebuilt(unit, samples=[sample._asdict() for sample in shuffled])
    assert (other.fingerprint, other.sheet.digest) == (unit.fingerprint, unit.sheet.digest)
    assert all(other.part(role) == unit.part(role) for role in ("train", "val", "test"))


@few
@given(units)
def test_names_of_scheme_and_fold_are_not_seen(unit: Unit) -> None:
    assert rebuilt(unit, scheme="elsewhere", fold="other").fingerprint == unit.fingerprint


def test_where_films_lie_and_the_order_of_a_table_are_not_seen() -> None:
    assert changed(BASE, plan(films=stores_of(COHORTS, shift=7))) == set()
    turned = tuple(Cohort(one.name, one.rows[::-1]) for one in COHORTS)
    assert changed(BASE, plan(cohorts=turned)) == set()


@few
@given(units)
def test_a_unit_keeps_its_fingerprint_on_the_way_to_a_worker(unit: Unit) -> None:
    job = Job(unit=unit, stores={}, tracking_uri="sqlite://", claims_uri="sqlite://", home=Path(), weights=Path(), parent_run="r")
    assert Job.model_validate_json(job.model_dump_json()).unit.fingerprint == unit.fingerprint


def test_tags_name_the_unit_by_all_that_a_run_is_searched_by() -> None:
    unit = BASE.units[0]
    assert {name.removeprefix("mdmt."): value for name, value in unit.tags.items()} == {
        "kind": "unit",
        "fingerprint": unit.fingerprint,
        "data_digest": unit.sheet.digest,
        "subset": "all",
        "device": "cpu",
        "group": "stl-prognosis/shufflenet_v2_x0_5-scratch/cv",
        "experiment": "stl-prognosis",
        "backbone": "shufflenet_v2_x0_5",
        "weights": "scratch",
        "scheme": "cv",
        "fold": "cv-0",
    }


def test_how_the_work_is_done_decides_nothing() -> None:
    other = recipe(running={"attempts": 9, "keep_weights": "needed", "pictures": "none"})
    assert other.digest() == recipe().digest()
    assert changed(BASE, plan(other)) == set()


@pytest.mark.parametrize(
    "change", [{"task_weighting": "uncertainty"}, {"mixing": "balanced"}, {"squared_error": ("prognosis",)}, {"monitor": "prognosis"}],
    ids=str,
)  # fmt: skip
def test_what_concerns_several_tasks_changes_no_network_of_one(change: dict[str, object]) -> None:
    after = plan(recipe(training={**recipe().training.model_dump(), **change}))
    assert changed(BASE, after) == {title for title in by_title(BASE) if title.startswith("mdmt/")}
