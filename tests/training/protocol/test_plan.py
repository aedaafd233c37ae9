"""What a unit is recognised by: exactly what decides its result, whatever it is called and in whatever order it is written."""

import random
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.cohort import Cohort, Row
from training.data.films import FilmStore
from training.data.folds import LeakageError
from training.protocol.job import Job
from training.protocol.plan import Plan, Sample, Unit, make_plan
from training.protocol.recipe import BackboneChoice, Recipe, Scheme, load_recipe

few = settings(max_examples=25, deadline=None)
LOCO = Scheme(kind="loco", primary="aiforcovid", centres=("A", "B"))


def cohort(name: str, task: str, classes: int, patients: int = 24, prefix: str = "") -> Cohort:
    """Two films a patient in three of four cases; centres A, B, C."""
    rows = []
    for i in range(patients):
        for k in range(1 if i % 4 == 0 else 2):
            rows.append(Row(f"{i:02}-{k}", Path("film.png"), f"{prefix or name}{i}", "ABC"[i % 3], {task: i % classes}))
    return Cohort(name, tuple(rows))


COHORTS = (cohort("aiforcovid", "prognosis", 2), cohort("brixia", "severity", 4))


def stores(cohorts: tuple[Cohort, ...] = COHORTS, shift: int = 0, **digests: str) -> dict[str, FilmStore]:
    """Stores in which every film has a digest of its own; `digests` gives others by "<cohort>_<row id>"."""
    made = {}
    for one in cohorts:
        entries = {
            row.id: {
                "slot": i + shift,
                "digest": digests.get(f"{one.name}_{row.id}", f"{one.name}/{row.id}"),
                "verdict": "both-lungs",
            }
            for i, row in enumerate(one.rows)
        }
        made[one.name] = FilmStore(Path(one.name), 64, entries)
    return made


def recipe(**changes: object) -> Recipe:
    return Recipe(**{**load_recipe("smoke").model_dump(), "schemes": (Scheme(kind="cv", folds=2), LOCO), **changes})


def plan(
    given: Recipe | None = None, films: Mapping[str, FilmStore] | None = None, cohorts: tuple[Cohort, ...] = COHORTS
) -> Plan:
    return make_plan(given or recipe(), cohorts, films or stores(cohorts))


def by_title(given: Plan) -> dict[str, Unit]:
    return {unit.title: unit for unit in given.units}


def changed(before: Plan, after: Plan) -> set[str]:
    first, second = by_title(before), by_title(after)
    assert first.keys() == second.keys()
    return {title for title in first if first[title].fingerprint != second[title].fingerprint}


def with_dependents(touched: set[str], of: Plan) -> set[str]:
    """Titles, and those of all units that start from them, directly or not."""
    spoiled = {unit.fingerprint for unit in of.units if unit.title in touched}
    for unit in of.units:  # parents come first
        if spoiled.intersection(unit.parents):
            spoiled.add(unit.fingerprint)
    return {unit.title for unit in of.units if unit.fingerprint in spoiled}


BASE = plan()


def rebuilt(unit: Unit, **changes: object) -> Unit:
    return Unit.model_validate({**unit.model_dump(), **changes})


# --- the graph ---------------------------------------------------------------------------------------------------------


def test_every_experiment_stands_in_every_fold_of_every_scheme_after_its_parents() -> None:
    assert len(BASE.units) == 4 * 2 * 2
    seen: set[str] = set()
    for unit in BASE.units:
        assert seen.issuperset(unit.parents)
        seen.add(unit.fingerprint)
        start = {"ft": ["stl-severity"], "mdmt": ["stl-prognosis", "stl-severity"]}.get(unit.experiment, [])
        assert list(unit.parents) == [by_title(BASE)[unit.title.replace(unit.experiment, name, 1)].fingerprint for name in start]


def test_a_unit_holds_only_films_that_know_one_of_its_tasks_and_no_patient_has_two_roles_in_it() -> None:
    people = {(one.name, row.id): row.patient for one in COHORTS for row in one.rows}
    for unit in BASE.units:
        assert {s.cohort for s in unit.samples} == {{"prognosis": "aiforcovid", "severity": "brixia"}[t] for t in unit.tasks}
        roles = defaultdict(set)
        for sample in unit.samples:
            assert set(sample.labels) <= set(unit.tasks)
            roles[people[sample.cohort, sample.row]].add(sample.role)
        assert all(len(given) == 1 for given in roles.values())


def test_severity_alone_is_trained_once_for_cross_validation_and_leaving_as_many_centres_out() -> None:
    named = by_title(BASE)
    where = "shufflenet_v2_x0_5-scratch"
    for cv, loco in (("cv-0", "loco-A"), ("cv-1", "loco-B")):
        crossed, left_out = (named[f"stl-severity/{where}/{scheme}/{fold}"] for scheme, fold in (("cv", cv), ("loco", loco)))
        assert crossed.fingerprint == left_out.fingerprint
        assert named[f"mdmt/{where}/cv/{cv}"].fingerprint != named[f"mdmt/{where}/loco/{loco}"].fingerprint
    assert len(BASE.distinct()) == 14


def test_a_plan_may_be_narrowed_to_the_refit_of_one_experiment_and_brings_its_parents() -> None:
    narrow = make_plan(recipe(), COHORTS, stores(), ("refit",), (BackboneChoice(name="resnet18", weights="scratch"),), ("mdmt",))
    assert [unit.title for unit in narrow.units] == [
        f"{name}/resnet18-scratch/refit/refit" for name in ("stl-prognosis", "stl-severity", "mdmt")
    ]
    assert {sample.role for unit in narrow.units for sample in unit.samples} == {"train", "val"}
    assert len(narrow.units[-1].samples) == sum(len(one.rows) for one in COHORTS)


def test_a_film_that_could_not_be_prepared_is_in_no_unit() -> None:
    films = stores()
    films["brixia"].entries["03-0"] = {"slot": 5, "error": "no-lungs", "message": "…"}
    assert not [s for unit in plan(films=films).units for s in unit.samples if (s.cohort, s.row) == ("brixia", "03-0")]


# --- what a fingerprint sees -------------------------------------------------------------------------------------------

places = st.sampled_from([(one.name, row.id) for one in COHORTS for row in one.rows])
units = st.sampled_from(BASE.units)


@few
@given(places)
def test_another_image_changes_exactly_the_units_that_use_it_and_those_that_start_from_them(place: tuple[str, str]) -> None:
    after = plan(films=stores(**{"_".join(place): "another image"}))
    using = {unit.title for unit in BASE.units if place in {(s.cohort, s.row) for s in unit.samples}}
    assert using
    assert changed(BASE, after) == with_dependents(using, BASE)


@few
@given(units, st.integers(0, 10**6), st.sampled_from(["digest", "role", "label", "gone"]))
def test_another_digest_role_or_label_of_one_film_is_another_unit(unit: Unit, which: int, what: str) -> None:
    films = [sample._asdict() for sample in unit.samples]
    film = films[which % len(films)]
    if what == "gone":
        films.remove(film)
    elif what == "label":
        film["labels"] = {task: 1 - min(index, 1) for task, index in film["labels"].items()}
    else:
        film[what] = {"digest": "another image", "role": "val" if film["role"] != "val" else "train"}[what]
    other = rebuilt(unit, samples=films)
    assert other.fingerprint != unit.fingerprint
    assert other.data_digest != unit.data_digest


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
    shuffled = source.sample(unit.samples, len(unit.samples))
    other = rebuilt(unit, samples=[sample._asdict() for sample in shuffled])
    assert (other.fingerprint, other.data_digest) == (unit.fingerprint, unit.data_digest)
    assert all(other.part(role) == unit.part(role) for role in ("train", "val", "test"))


@few
@given(units)
def test_names_of_scheme_and_fold_are_not_seen(unit: Unit) -> None:
    assert rebuilt(unit, scheme="elsewhere", fold="other").fingerprint == unit.fingerprint


def test_where_films_lie_and_the_order_of_a_table_are_not_seen() -> None:
    assert changed(BASE, plan(films=stores(shift=7))) == set()
    turned = tuple(Cohort(one.name, one.rows[::-1]) for one in COHORTS)
    assert changed(BASE, plan(cohorts=turned)) == set()


@few
@given(units)
def test_a_unit_keeps_its_fingerprint_on_the_way_to_a_worker(unit: Unit) -> None:
    job = Job(unit=unit, stores={}, tracking_uri="sqlite://", home=Path(), parent_run="r")
    assert Job.model_validate_json(job.model_dump_json()).unit.fingerprint == unit.fingerprint


def test_tags_name_the_unit_by_all_that_a_run_is_searched_by() -> None:
    unit = BASE.units[0]
    assert {name.removeprefix("mdmt."): value for name, value in unit.tags.items()} == {
        "kind": "unit",
        "fingerprint": unit.fingerprint,
        "data_digest": unit.data_digest,
        "group": "stl-prognosis/shufflenet_v2_x0_5-scratch/cv",
        "experiment": "stl-prognosis",
        "backbone": "shufflenet_v2_x0_5",
        "weights": "scratch",
        "scheme": "cv",
        "fold": "cv-0",
    }


# --- leaks -------------------------------------------------------------------------------------------------------------


def test_a_person_in_both_data_sets_is_never_on_two_sides() -> None:
    both = (COHORTS[0], cohort("brixia", "severity", 4, prefix="aiforcovid"))
    people = {(one.name, row.id): row.patient for one in both for row in one.rows}
    for unit in plan(cohorts=both).units:
        roles = defaultdict(set)
        for sample in unit.samples:
            roles[people[sample.cohort, sample.row]].add(sample.role)
        assert all(len(given) == 1 for given in roles.values())


def test_the_same_film_under_two_patients_stops_the_plan_and_names_both_rows() -> None:
    fold = by_title(BASE)["mdmt/shufflenet_v2_x0_5-scratch/cv/cv-0"]
    trained, tested = (
        next(s for s in fold.part(role) if s.cohort == c) for role, c in (("train", "aiforcovid"), ("test", "brixia"))
    )
    with pytest.raises(
        LeakageError, match=rf"cv-0: identical films in aiforcovid/{trained.row} \(train\), brixia/{tested.row} \(test\)"
    ):
        plan(films=stores(**{f"aiforcovid_{trained.row}": "twice", f"brixia_{tested.row}": "twice"}))


def test_the_same_film_twice_of_one_patient_is_no_leak() -> None:
    assert len(plan(films=stores(**{"brixia_01-0": "twice", "brixia_01-1": "twice"})).units) == 16


def test_samples_are_plain_data() -> None:
    assert Sample._fields == ("cohort", "row", "slot", "digest", "role", "labels")
