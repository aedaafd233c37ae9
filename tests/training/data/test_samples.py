"""Films and labels as arrays: what is not known is marked, never a number."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.data.samples import assemble, sample_key

LABELS = st.dictionaries(st.sampled_from(["prognosis", "severity", "device"]), st.integers(0, 3))


@given(labels=st.lists(LABELS, min_size=1, max_size=8), tasks=st.permutations(["severity", "prognosis"]))
def test_a_label_holds_exactly_where_the_row_has_one_of_the_tasks_asked_for(
    labels: list[dict[str, int]], tasks: list[str]
) -> None:
    films = [np.full((4, 4), i, np.uint8) for i in range(len(labels))]
    samples = assemble(films, [f"f{i}" for i in range(len(labels))], labels, tasks)
    assert len(samples) == len(labels) and samples.tasks == tuple(tasks)
    assert samples.films.dtype == np.uint8 and samples.labels.dtype == np.int64 and samples.known.dtype == bool
    for i, row in enumerate(labels):
        assert (samples.films[i] == i).all()
        for j, task in enumerate(tasks):
            assert samples.known[i, j] == (task in row)
            assert samples.labels[i, j] == row.get(task, samples.labels[i, j])


def test_on_a_mirrored_film_left_is_asked_as_right_and_nothing_is_known_of_what_is_not_learned() -> None:
    labels = [{"severity": 1, "zone-a": 3, "zone-d": 0}]
    film, rows, mirrored = [np.zeros((4, 4), np.uint8)], np.array([0]), np.array([True])
    both = assemble(film, ["f"], labels, ("severity", "zone-a", "zone-d")).labels_of(rows, mirrored)
    assert [table.tolist() for table in both] == [[[1, 0, 3]], [[True, True, True]]]
    alone = assemble(film, ["f"], labels, ("severity", "zone-a"))
    assert alone.labels_of(rows, mirrored)[1].tolist() == [[True, False]]  # what zone A shows there is zone D
    assert alone.labels_of(rows, ~mirrored)[1].tolist() == [[True, True]]


def test_a_key_names_the_sample_wherever_it_stands() -> None:
    films, labels = [np.zeros((2, 2), np.uint8)] * 3, [{}] * 3
    forward = assemble(films, ["a", "b", "c"], labels, []).keys
    np.testing.assert_array_equal(assemble(films, ["c", "b", "a"], labels, []).keys, forward[::-1])
    assert forward.dtype == np.uint64 and len(set(forward)) == 3


def test_a_key_is_the_same_in_every_process() -> None:
    code = "from training.data.samples import sample_key; import sys; sys.stdout.write(str(sample_key('a/é')))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONHASHSEED": "7"}, check=True)
    assert int(told.stdout) == sample_key("a/é")
