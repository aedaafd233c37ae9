"""Which GPUs slots get."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executors.devices import deal
from services.executors.executor import NoSuchDevice
from tests.journeys.under_fire.ground import sheet, unit
from training.protocol.job import Job
from training.protocol.recipe import Running

FILMS = sheet(8)


def jobs(count: int, shared: int = 1, **changes: Any) -> list[Job]:
    running, here = Running(units_per_gpu=shared), Path("/")
    return [
        Job(
            unit=unit(seed, films=FILMS).model_copy(update=changes), stores={}, tracking_uri="", claims_uri="", home=here,
            weights=here, parent_run="", running=running,
        )
        for seed in range(count)
    ]  # fmt: skip


def test_units_on_a_cpu_get_no_gpu_and_no_more_slots_than_there_are_units() -> None:
    assert deal(jobs(3), ["0", "1"], 8, "here") == [(), (), ()]
    assert deal([], ["0"], 8, "here") == []


def test_every_gpu_has_a_slot_before_any_has_two() -> None:
    assert deal(jobs(9, shared=2, device="cuda"), ["0", "1"], 8, "here") == [("0",), ("1",), ("0",), ("1",)]


def test_a_unit_of_several_gpus_has_them_for_itself_and_what_is_left_over_stays_idle() -> None:
    wants = jobs(9, device="cuda", gpus_per_unit=2)
    assert deal(wants, ["0", "1", "2", "3", "4"], 8, "here") == [("0", "1"), ("2", "3")]


@pytest.mark.parametrize(("gpus", "found"), [([], "has no NVIDIA GPU"), (["0"], "has 1 of the 2 GPUs that a unit wants")])
def test_gpus_that_are_not_there_are_named_with_the_place_and_what_to_do(gpus: list[str], found: str) -> None:
    with pytest.raises(NoSuchDevice, match=f"device 'cuda' and the moon {found}; set device to 'cpu' in the recipe"):
        deal(jobs(1, device="cuda", gpus_per_unit=2), gpus, 1, "the moon")


@given(
    count=st.integers(1, 20), gpus=st.integers(1, 9), each=st.integers(1, 4), shared=st.integers(1, 3), slots=st.integers(1, 16)
)
def test_no_gpu_ever_holds_more_units_than_it_may(count: int, gpus: int, each: int, shared: int, slots: int) -> None:
    names = [str(i) for i in range(gpus)]
    wants = jobs(1, shared, device="cuda", gpus_per_unit=each) * count
    if gpus < each:
        return
    dealt = deal(wants, names, slots, "here")
    assert 1 <= len(dealt) <= min(slots, count)
    assert all(len(set(got)) == each for got in dealt)
    assert all(sum(name in got for got in dealt) <= shared for name in names)
