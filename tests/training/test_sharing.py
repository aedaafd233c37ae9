"""Tables of processes side by side: kept once, read by kind of device, and what follows from them for the work there is."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from training.sharing import RAISES, Asked, Row, Table, TableDamaged, best, expected_seconds, file_of, is_settled, tables, write

GPU = "a GPU of 1 GB"
NAMES = ("resnet18", "densenet121", "mobilenet_v2")


def asked(backbone: str = "resnet18", **changes: object) -> Asked:
    return Asked(**{"backbone": backbone, "size": 64, "batch": 16, "device": "cuda", "threads": 1, "torch": "0", **changes})


def table(about: Asked, *rates: float, out_of_memory: str = "", kind: str = GPU) -> Table:
    """Films per second of 1, 2, 3, … processes."""
    rows = tuple(Row(processes=n, films_per_second=rate, memory=1 << 28) for n, rate in enumerate(rates, 1))
    return Table(asked=about, kind=kind, rows=rows, out_of_memory=out_of_memory)


@st.composite
def measured(draw: st.DrawFn) -> tuple[dict[Asked, float], dict[Asked, Table]]:
    """Work on one to three backbones, and a table of each."""
    rates = st.lists(st.floats(1, 1e4), min_size=1, max_size=5)
    chosen = [asked(name) for name in NAMES[: draw(st.integers(1, 3))]]
    return {one: draw(st.floats(1, 1e6)) for one in chosen}, {one: table(one, *draw(rates)) for one in chosen}


# --- the number --------------------------------------------------------------------------------------------------------


@given(measured())
def test_the_number_takes_the_least_expected_time_or_within_5_percent_of_it_and_all_had_memory_for_it(
    given_: tuple[dict[Asked, float], dict[Asked, Table]],
) -> None:
    work, known = given_
    fit = range(1, min(len(one.rows) for one in known.values()) + 1)
    number = best(work, known)
    assert number in fit
    seconds = {n: expected_seconds(work, known, n) for n in fit}
    assert seconds[number] <= RAISES * min(seconds.values()) * (1 + 1e-9)
    assert number == 1 or seconds[number] * RAISES <= seconds[1] * (1 + 1e-9)


@given(measured(), st.sampled_from([0.125, 2.0, 1024.0]))  # exact in floating point
def test_only_shares_of_the_work_count_not_how_much_there_is(
    given_: tuple[dict[Asked, float], dict[Asked, Table]], factor: float
) -> None:
    work, known = given_
    assert best({one: factor * films for one, films in work.items()}, known) == best(work, known)


def test_backbones_that_cost_more_decide() -> None:
    large, small = asked("densenet121"), asked("mobilenet_v2")
    known = {large: table(large, 100, 80), small: table(small, 100, 190)}
    assert best({large: 9.0, small: 1.0}, known) == 1
    assert best({large: 1.0, small: 9.0}, known) == 2


def test_a_gain_of_less_than_5_percent_is_none() -> None:
    one = asked()
    assert best({one: 1.0}, {one: table(one, 100, 104)}) == 1
    assert best({one: 1.0}, {one: table(one, 100, 106, 107)}) == 2


def test_what_one_backbone_had_no_memory_for_nobody_gets() -> None:
    large, small = asked("densenet121"), asked("mobilenet_v2")
    known = {large: table(large, 100, 150, out_of_memory="killed"), small: table(small, 100, 200, 300, 301)}
    work = {large: 1.0, small: 1e6}
    assert best(work, known) == 2
    assert is_settled(work, known)


@pytest.mark.parametrize(
    ("rates", "end", "whole"),
    [((9,), "", False), ((9,), "killed", True), ((9, 17), "", False), ((9, 9.2), "", True), ((9, 17, 16), "", True)],
    ids=str,
)
def test_a_table_is_whole_when_one_process_more_was_no_gain_or_had_no_memory(
    rates: tuple[float, ...], end: str, whole: bool
) -> None:
    one = asked()
    assert table(one, *rates, out_of_memory=end).is_whole is whole
    assert is_settled([one], {one: table(one, *rates, out_of_memory=end)}) is whole


def test_a_longer_table_that_is_whole_settles_nothing_for_a_shorter_one_that_is_not() -> None:
    large, small = asked("densenet121"), asked("mobilenet_v2")
    assert not is_settled([large, small], {large: table(large, 9, 17), small: table(small, 9, 17, 17)})


# --- files -------------------------------------------------------------------------------------------------------------


def test_a_table_is_read_as_it_was_written_under_its_kind_of_device(tmp_path: Path) -> None:
    first, other = table(asked(), 9, 17, out_of_memory="killed"), table(asked(), 5, 6, kind="a larger GPU")
    for one in (first, other):
        write(tmp_path, one)
    assert tables(tmp_path) == {GPU: {asked(): first}, "a larger GPU": {asked(): other}}
    assert tables(tmp_path / "elsewhere") == {}


def test_the_first_table_of_a_question_stands(tmp_path: Path) -> None:
    write(tmp_path, table(asked(), 9))
    write(tmp_path, table(asked(), 1))
    (file,) = (tmp_path / "calibration").iterdir()
    assert file == file_of(tmp_path, asked(), GPU)
    assert json.loads(file.read_text())["rows"][0]["films_per_second"] == 9


@pytest.mark.parametrize(
    "changes",
    [{"size": 96}, {"batch": 8}, {"threads": 2}, {"device": "cpu"}, {"torch": "1"}, {"precision": "auto"}, {"tf32": True}],
    ids=str,
)
def test_another_question_has_another_file(tmp_path: Path, changes: dict[str, object]) -> None:
    assert file_of(tmp_path, asked(**changes), GPU) != file_of(tmp_path, asked(), GPU)


def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = file_of(tmp_path, asked(), GPU)
    file.parent.mkdir()
    file.write_text("{}")
    with pytest.raises(TableDamaged, match=rf"{file.name} is no table .* delete it, and measure again"):
        tables(tmp_path)


def test_settings_that_decide_speed_are_those_of_the_training_that_is_measured() -> None:
    training = asked(precision="bfloat16", deterministic=True).training
    assert (training.batch_size, training.precision, training.deterministic, training.tf32) == (16, "bfloat16", True, False)


def test_a_table_without_a_row_is_none() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        table(asked())
