"""What a unit is recognised by: exactly what decides its result, whatever it is called and in whatever order it is written."""

import random
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.protocol.tiny import rows_only, stores_of, tiny_recipe
from training.data.cohort import Cohort
from training.data.films import FilmStore
from training.data.folds import LeakageError
from training.protocol.experiments import Experiment
from training.protocol.job import Job
from training.protocol.plan import Plan, make_plan
from training.protocol.recipe import BackboneChoice, Recipe, RecipeError, Scheme, Subset, Tuned
from training.protocol.unit import Sample, Sheet, Unit

few = settings(max_examples=25, deadline=None)
LOCO = Scheme(kind="loco", primary="aiforcovid", centres=("A", "B"))


COHORTS = (rows_only("aiforcovid", "prognosis", 2), rows_only("brixia", "severity", 4))
NOWHERE = Path("nowhere")


def recipe(**changes: object) -> Recipe:
    return tiny_recipe(**{"schemes": (Scheme(kind="cv", folds=2), LOCO), "batch_norm": "reestimate", **changes})


def plan(
    given: Recipe | None = None, films: Mapping[str, FilmStore] | None = None, cohorts: tuple[Cohort, ...] = COHORTS
) -> Plan:
    return make_plan(given or recipe(), cohorts, films or stores_of(cohorts), NOWHERE)


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
    if "samples" in changes:
        changes["sheet"] = Sheet(samples=changes.pop("samples"))
    return Unit.model_validate({**unit.model_dump(), **changes})


# --- the graph ---------------------------------------------------------------------------------------------------------


def test_every_experiment_stands_in_every_fold_of_every_scheme_after_its_parents() -> None:
    assert len(BASE.units) == 5 * 2 * 2
    seen: set[str] = set()
    for unit in BASE.units:
        assert seen.issuperset(unit.parents)
        seen.add(unit.fingerprint)
        start = {
            "ft": ["stl-severity"],
            "ft-severity": ["stl-prognosis"],
            "mdmt": ["stl-prognosis", "stl-severity"],
        }.get(unit.experiment, [])
        assert list(unit.parents) == [by_title(BASE)[unit.title.replace(unit.experiment, name, 1)].fingerprint for name in start]


def test_a_unit_holds_only_films_that_know_one_of_its_tasks_and_no_patient_has_two_roles_in_it() -> None:
    people = {(one.name, row.id): row.patient for one in COHORTS for row in one.rows}
    for unit in BASE.units:
        assert {s.cohort for s in unit.sheet.samples} == {
            {"prognosis": "aiforcovid", "severity": "brixia"}[t] for t in unit.tasks
        }
        roles = defaultdict(set)
        for sample in unit.sheet.samples:
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
    assert len(BASE.distinct) == 18


def test_a_plan_may_be_narrowed_to_the_refit_of_one_experiment_and_brings_its_parents() -> None:
    resnet = BackboneChoice(name="resnet18", weights="scratch")
    narrow = make_plan(recipe(), COHORTS, stores_of(COHORTS), NOWHERE, ("refit",), (resnet,), ("mdmt",))
    assert [unit.title for unit in narrow.units] == [
        f"{name}/resnet18-scratch/refit/refit" for name in ("stl-prognosis", "stl-severity", "mdmt")
    ]
    assert {sample.role for unit in narrow.units for sample in unit.sheet.samples} == {"train", "val"}
    assert len(narrow.units[-1].sheet.samples) == sum(len(one.rows) for one in COHORTS)


def test_a_film_that_could_not_be_prepared_is_in_no_unit() -> None:
    films = stores_of(COHORTS)
    films["brixia"].entries["03-0"] = {"slot": 5, "error": "no-lungs", "message": "…"}
    assert not [s for unit in plan(films=films).units for s in unit.sheet.samples if (s.cohort, s.row) == ("brixia", "03-0")]


# --- what a fingerprint sees -------------------------------------------------------------------------------------------

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


# --- the breadth of the paper ------------------------------------------------------------------------------------------

RELEASES = tuple(
    Subset(name=f"release-{n}", keep={"aiforcovid": {"release": tuple(map(str, range(1, n + 1)))}}) for n in (1, 2, 3)
)


def test_severity_alone_is_trained_once_for_all_releases() -> None:
    broad = plan(recipe(subsets=RELEASES))
    assert len(broad.units) == 3 * len(BASE.units)
    alone = [unit for unit in broad.units if unit.experiment == "stl-severity"]
    assert len({unit.fingerprint for unit in alone}) == len({u.fingerprint for u in BASE.units if u.experiment == "stl-severity"})
    others = [unit for unit in broad.units if unit.experiment != "stl-severity"]
    assert len({unit.fingerprint for unit in others}) == len(others)


def test_a_film_of_the_last_release_is_in_units_of_that_release_only_and_changes_no_other() -> None:
    given = recipe(subsets=RELEASES)
    before, last = plan(given), next(row for row in COHORTS[0].rows if row.attributes["release"] == "3")
    after = plan(given, films=stores_of(COHORTS, **{f"aiforcovid_{last.id}": "another image"}))
    touched = changed(before, after)
    assert touched
    assert all("/release-3" in title for title in touched)


def test_an_attribute_that_rows_do_not_have_is_refused_with_those_they_have() -> None:
    wrong = (Subset(name="half", keep={"aiforcovid": {"relase": ("1",)}}),)
    with pytest.raises(RecipeError, match=r"'half' asks for 'relase' of aiforcovid, which row .* it has: release"):
        plan(recipe(subsets=wrong))
    with pytest.raises(RecipeError, match="subset 'none' leaves no film of aiforcovid"):
        plan(recipe(subsets=(Subset(name="none", keep={"aiforcovid": {"release": ("7",)}}),)))


def test_repeats_run_a_scheme_again_with_other_seeds_of_splits_and_training() -> None:
    twice = plan(recipe(schemes=(Scheme(kind="cv", folds=2, repeats=2),)))
    first, second = ([u for u in twice.units if u.repeat == r] for r in (0, 1))
    assert [u.fingerprint for u in first] == [u.fingerprint for u in plan(recipe(schemes=(Scheme(kind="cv", folds=2),))).units]
    assert {u.seed for u in second} == {1}
    assert all(a.sheet.digest != b.sheet.digest and a.group == b.group for a, b in zip(first, second, strict=True))


def test_what_was_tuned_for_one_fold_changes_that_fold_alone() -> None:
    tuned = {"all/cv-0": Tuned(training={"learning_rate": 3e-4, "augmentation": {"zoom": 0.2}}, beta=0.3)}
    after = plan(recipe(tuned=tuned))
    assert changed(BASE, after) == {title for title in by_title(BASE) if title.endswith("/cv-0")}
    unit = by_title(after)["mdmt/shufflenet_v2_x0_5-scratch/cv/cv-0"]
    assert (unit.training.learning_rate, unit.training.augmentation.zoom, unit.beta) == (3e-4, 0.2, 0.3)


def test_a_recipe_may_bring_experiments_of_its_own() -> None:
    chain = Experiment(name="chain", title="τ2→τ1→τ2", tasks=("severity",), parents=("ft",))
    mine = plan(recipe(own_experiments=(chain,), experiments=("chain",)))
    assert [u.experiment for u in mine.units[:3]] == ["stl-severity", "ft", "chain"]
    assert mine.units[2].parents == (mine.units[1].fingerprint,)


def test_a_plan_can_be_counted_before_anything_is_prepared() -> None:
    outline = make_plan(recipe(), COHORTS, None, NOWHERE)
    assert [unit.title for unit in outline.units] == [unit.title for unit in BASE.units]
    assert outline.stores == {}


def test_how_the_work_is_done_decides_nothing() -> None:
    other = recipe(running={"attempts": 9, "keep_weights": "needed", "pictures": "none"})
    assert other.digest() == recipe().digest()
    assert changed(BASE, plan(other)) == set()


# --- leaks -------------------------------------------------------------------------------------------------------------


def test_a_person_in_both_data_sets_is_never_on_two_sides() -> None:
    both = (COHORTS[0], rows_only("brixia", "severity", 4, prefix="aiforcovid"))
    people = {(one.name, row.id): row.patient for one in both for row in one.rows}
    for unit in plan(cohorts=both).units:
        roles = defaultdict(set)
        for sample in unit.sheet.samples:
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
        plan(films=stores_of(COHORTS, **{f"aiforcovid_{trained.row}": "twice", f"brixia_{tested.row}": "twice"}))


def test_the_same_film_twice_of_one_patient_is_no_leak() -> None:
    assert len(plan(films=stores_of(COHORTS, **{"brixia_01-0": "twice", "brixia_01-1": "twice"})).units) == 20


def test_samples_are_plain_data() -> None:
    assert Sample._fields == ("cohort", "row", "slot", "digest", "role", "patient", "labels")


# --- sharing between recipes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [{"task_weighting": "uncertainty"}, {"mixing": "balanced"}, {"squared_error": ("prognosis",)}, {"monitor": "prognosis"}],
    ids=str,
)  # fmt: skip
def test_what_concerns_several_tasks_changes_no_network_of_one(change: dict[str, object]) -> None:
    after = plan(recipe(training={**recipe().training.model_dump(), **change}))
    assert changed(BASE, after) == {title for title in by_title(BASE) if title.startswith("mdmt/")}


def test_tuned_folds_are_refused_where_several_folds_have_one_name() -> None:
    tuned = {"all/cv-0": {"beta": 0.3}}
    with pytest.raises(ValueError, match="Use schemes with 1 repeat"):
        recipe(tuned=tuned, schemes=(Scheme(kind="cv", folds=2, repeats=2),))


def test_two_schemes_of_one_kind_are_refused_because_their_folds_could_not_be_told_apart() -> None:
    with pytest.raises(ValueError, match="schemes listed twice: cv"):
        recipe(schemes=(Scheme(kind="cv", folds=2), Scheme(kind="cv", folds=3)))


def test_a_smaller_subset_is_part_of_a_larger_one_and_holds_whole_patients() -> None:
    cohorts = (COHORTS[0], rows_only("brixia", "severity", 4, patients=40))
    subsets = [Subset(name=str(n), at_most={"brixia": n}) for n in (40, 60)]
    given = plan(recipe(subsets=tuple(subsets), schemes=(Scheme(kind="cv", folds=2),)), cohorts=cohorts)
    used: dict[str, set[str]] = defaultdict(set)
    for unit in given.units:
        used[unit.subset] |= {sample.row for sample in unit.sheet.samples if sample.cohort == "brixia"}
    assert used["40"] < used["60"] and 30 < len(used["40"]) <= 40 and len(used["60"]) <= 60
    films: dict[str, set[str]] = defaultdict(set)
    for row in cohorts[1].rows:
        films[row.patient].add(row.id)
    assert all(rows <= used["40"] or not rows & used["40"] for rows in films.values())


def test_a_subset_too_small_for_any_patient_is_refused_with_its_rule() -> None:
    crowd = rows_only("brixia", "severity", 4)
    one = Cohort("brixia", tuple(row.__class__(**{**vars(row), "patient": "P"}) for row in crowd.rows))
    with pytest.raises(RecipeError, match="leaves no film of brixia: it keeps all, at most"):
        plan(recipe(subsets=(Subset(name="few", at_most={"brixia": 2}),)), cohorts=(COHORTS[0], one))
