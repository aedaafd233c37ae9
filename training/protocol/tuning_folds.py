"""Folds within a fold: a search sees the films that train or validate there, and nothing of those that test it.

The films of the outer fold's test part (or left-out centre), and those that have no role in it because the same person is tested, are
taken away first. What is left is dealt by patient into inner folds, each of which validates once and has no test part.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from training.data.cohort import Cohort
from training.data.films import FilmStore
from training.data.folds import Fold, LeakageError, assert_no_leakage
from training.data.splits import cross_validation
from training.protocol.plan import REFIT, Division, divisions
from training.protocol.recipe import Recipe

SCHEME = "tuning"  # of the units of a search: no table of the study shows them


class TuningError(ValueError):
    """A search that cannot be made, or that found nothing."""


def outer_folds(
    recipe: Recipe, cohorts: Sequence[Cohort], stores: Mapping[str, FilmStore] | None, places: Sequence[str]
) -> list[Division]:
    """The folds named subset/fold; none named: every fold of the first scheme on the last subset. Without `stores` good for names only.

    Raises TuningError for a place that does not exist, or that names several folds: what is found for it would reach a fold in
    which the films that it was found on are tested.
    """
    found: dict[str, list[Division]] = defaultdict(list)
    for division in divisions(recipe, cohorts, stores, (*recipe.schemes, REFIT)):
        found[division.place].append(division)
    _, subset, kind = recipe.served_group
    wanted = list(dict.fromkeys(places)) or [p for p, (d, *_) in found.items() if (d.scheme, d.subset) == (kind, subset)]
    if unknown := [place for place in wanted if place not in found]:
        raise TuningError(f"no fold {', '.join(unknown)} in recipe {recipe.name!r}; its folds: {', '.join(found)}")
    if shared := [place for place in wanted if len(found[place]) > 1]:
        raise TuningError(
            f"{', '.join(shared)} of recipe {recipe.name!r} names {len(found[shared[0]])} folds with other test films each (repeats, or "
            "two schemes of one kind); settings found on one would have seen the test films of another: tune a recipe without repeats"
        )
    return [found[place][0] for place in wanted]


def inner_folds(outer: Division, k: int, seed: int) -> list[Division]:
    """Divisions "<fold>-inner-0" … of what trains or validates in `outer`: each film validates in exactly one of the k.

    Raises SplitError when a class has fewer than k patients, LeakageError when one film is on two sides.
    """
    kept = [Cohort(c.name, tuple(r for r in c.rows if _is_seen(outer, c.name, r.id))) for c in outer.cohorts]
    folds = [
        Fold(f"{outer.fold.name}-inner-{i}", {name: _without_test(roles) for name, roles in fold.roles.items()})
        for i, fold in enumerate(cross_validation(kept, k, seed))
    ]
    digests = {(c.name, r.id): str(outer.entries[c.name][r.id]["digest"]) for c in outer.cohorts for r in c.rows}
    assert_no_leakage(kept, folds, digests)
    _assert_nothing_of_the_test(outer, kept, digests)
    return [replace(outer, scheme=SCHEME, fold=fold, cohorts=kept, _sheets={}) for fold in folds]


def _is_seen(outer: Division, cohort: str, row: str) -> bool:
    return outer.fold.roles[cohort].get(row) in ("train", "val")


def _without_test(roles: Mapping[str, str]) -> dict[str, str]:
    return {row: "val" if role == "test" else "train" for row, role in roles.items()}


def _assert_nothing_of_the_test(outer: Division, kept: Sequence[Cohort], digests: Mapping[tuple[str, str], str]) -> None:
    """No film and no person that the outer fold tests, whatever became of the roles in between."""
    seen = {(c.name, r.id): r.patient for c in kept for r in c.rows}
    tested = {(c.name, r.id): r.patient for c in outer.cohorts for r in c.rows if outer.fold.roles[c.name].get(r.id) == "test"}
    films = {digests[place] for place in tested}
    persons = set(tested.values())
    if leaks := [f"{name}/{row}" for (name, row), who in seen.items() if digests[name, row] in films or who in persons]:
        raise LeakageError([f"{outer.place}: {leak} is tested there and seen by the search" for leak in leaks])
