"""Units of a recipe: every fold after its parents, no patient on two sides, nothing trained twice."""

from collections import defaultdict

import pytest

from tests.training.protocol.plans import BASE, COHORTS, NOWHERE, RELEASES, by_title, changed, plan, recipe
from tests.training.protocol.tiny import rows_only, stores_of
from training.data.cohort import Cohort
from training.data.folds import LeakageError
from training.protocol.experiments import Experiment
from training.protocol.plan import make_plan
from training.protocol.recipe import BackboneChoice, RecipeError, Scheme, Subset, Tuned
from training.protocol.unit import Sample


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


# --- the breadth of the paper ------------------------------------------------------------------------------------------


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


def test_a_task_that_no_film_knows_is_refused_before_anything_is_trained() -> None:
    zones = Experiment(name="zones", title="zones", tasks=("severity", "zone-a", "global"))
    said = r"no train film of .*/cv-0 has a label of global, zone-a; the data sets are aiforcovid, brixia: leave the task out"
    with pytest.raises(RecipeError, match=said):
        plan(recipe(own_experiments=(zones,), experiments=("zones",)))


def test_a_plan_can_be_counted_before_anything_is_prepared() -> None:
    outline = make_plan(recipe(), COHORTS, None, NOWHERE)
    assert [unit.title for unit in outline.units] == [unit.title for unit in BASE.units]
    assert outline.stores == {}


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


# --- what a recipe may not ask for -------------------------------------------------------------------------------------


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
