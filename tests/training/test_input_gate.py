"""The gate is fitted to films of all cohorts, and its threshold to films it has not seen."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr.gate import Gate, combined
from cxr.measures import measure
from tests.cxr.chests import SPEC, chest, films, gate_model, seen, segmenter
from training.data.cohort import Cohort, Row
from training.input_gate import LEAST_FILMS, fit_gate, gate_of, held_out_parts, measure_cohorts


def test_the_threshold_is_what_the_wanted_share_of_held_out_films_stays_under() -> None:
    model = gate_model()
    scores = np.array([combined(*parts, model.distance_limit, model.odds_limit) for parts in held_out_parts(films())])
    for wanted in (0.9, 0.98):
        model = fit_gate(films(), wanted)
        assert np.mean(scores <= model.threshold) == model.accepted >= wanted
    assert gate_model().typical == tuple(np.quantile(scores, (0.05, 0.25, 0.5, 0.75, 0.95)))
    assert (gate_model().films, gate_model().cohorts) == (len(films()), ("chests",))


def test_a_film_is_held_out_together_with_its_patients_other_films() -> None:
    """Each patient twice with the same film: were one kept, its twin would score as if it had been seen."""
    twins = [film for film in films()[::2] for _ in (1, 2)]
    gate = Gate(fit_gate(twins))
    seen_before = [gate.distance(film.measured) for film in twins]
    assert np.median(held_out_parts(twins)[:, 0]) > 1.1 * np.median(seen_before)


def test_fitting_twice_gives_the_same_gate() -> None:
    assert fit_gate(films()) == fit_gate(list(films()))


def test_too_few_films_or_patients_give_no_gate() -> None:
    with pytest.raises(ValueError, match="a gate needs"):
        fit_gate(films()[: LEAST_FILMS - 1])
    with pytest.raises(ValueError, match="of 2 patients"):
        fit_gate([film._replace(patient=str(i % 2)) for i, film in enumerate(films())])
    assert gate_of((), SPEC, segmenter()) is None


def test_films_are_drawn_from_every_cohort_and_unreadable_ones_are_left_out(tmp_path: Path) -> None:
    def cohort(name: str, count: int) -> Cohort:
        rows = []
        for i in range(count):
            path = tmp_path / f"{name}{i}.png"
            Image.fromarray(chest(i, 120, 100)).save(path)
            rows.append(Row(str(i), path, f"{name} {i}", "A", {"prognosis": 0}))
        return Cohort(name, tuple(rows))

    small, large = cohort("small", 4), cohort("large", 30)
    small.rows[1].image.write_bytes(b"no film")
    drawn = measure_cohorts([large, small], SPEC, segmenter(), most=20)
    assert [film.cohort for film in drawn] == ["small"] * 3 + ["large"] * 17
    assert [film.patient for film in drawn] == [
        film.patient for film in measure_cohorts([large, small], SPEC, segmenter(), most=20)
    ]
    np.testing.assert_array_equal(drawn[0].measured.numbers, measure(seen(chest(0, 120, 100))).numbers)
