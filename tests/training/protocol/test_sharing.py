"""How many units share a device, taken from tables: settled before an executor sees a job, or said to be missing before anything starts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.executors.devices import deal
from tests.training.protocol.plans import COHORTS
from tests.training.protocol.test_study import Quiet
from tests.training.protocol.tiny import SMALLEST, stores_of, tiny_recipe
from tests.training.test_sharing import table
from training.protocol.plan import Plan, make_plan
from training.protocol.recipe import BackboneChoice, Recipe, Running
from training.protocol.schedule import Schedule
from training.protocol.sharing import NotMeasured, units_per_gpu, work_of, workers_here
from training.protocol.study import Study
from training.sharing import kind_of_cpu, write
from training.tracking import Tracking, default_uri

OTHER = BackboneChoice(name="resnet18", weights="scratch")


def recipe(**changes: object) -> Recipe:
    """Two backbones on a GPU that is shared as measured."""
    given = {"device": "cuda", "running": {"units_per_gpu": "measured", "free_gib": 0}, "backbones": (SMALLEST, OTHER)}
    return tiny_recipe(**{**given, **changes})


def outline(of: Recipe) -> Callable[[], Plan]:
    return lambda: make_plan(of, COHORTS, None, None)


def nobody_asks() -> Plan:
    raise AssertionError("the units were asked for, which takes seconds in a large recipe")


def write_tables(home: Path, of: Recipe, kind: str, **rates: tuple[float, ...]) -> None:
    """A table of each backbone that is named."""
    for asked in work_of(outline(of)().distinct.values(), of.device):
        if asked.backbone in rates:
            write(home, table(asked, *rates[asked.backbone], kind=kind))


def test_work_is_films_times_epochs_by_backbone_and_films_on_the_device_at_a_time() -> None:
    own = {"batch_size": 16, "accumulate": 2, "max_epochs": 2, "patience": 2, "warmup_epochs": 0, "precision": "bfloat16"}
    units = list(outline(recipe(training=own))().distinct.values())
    work = work_of(units, "cuda")
    assert {asked.backbone: (asked.batch, asked.precision, asked.size, asked.device) for asked in work} == dict.fromkeys(
        ("shufflenet_v2_x0_5", "resnet18"), (8, "bfloat16", 64, "cuda")
    )
    assert sum(work.values()) == sum(2 * len(unit.part("train")) for unit in units)


def test_a_number_in_the_recipe_is_taken_without_looking_further(tmp_path: Path) -> None:
    assert units_per_gpu(recipe(running={"units_per_gpu": 3}), nobody_asks, tmp_path) == 3
    assert units_per_gpu(recipe(device="cpu"), nobody_asks, tmp_path) == 1


def test_the_measured_number_is_that_of_all_backbones_and_of_several_kinds_of_gpu_the_least(tmp_path: Path) -> None:
    given = recipe()
    write_tables(tmp_path, given, "GPU", shufflenet_v2_x0_5=(100, 190, 260), resnet18=(100, 150, 170))
    assert units_per_gpu(given, outline(given), tmp_path) == 3
    write_tables(tmp_path, given, "half measured", resnet18=(100, 100))
    assert units_per_gpu(given, outline(given), tmp_path) == 3
    write_tables(tmp_path, given, "small GPU", shufflenet_v2_x0_5=(100, 190), resnet18=(100, 150))
    assert units_per_gpu(given, outline(given), tmp_path) == 2


def test_a_missing_table_is_named_with_the_command_that_measures_it(tmp_path: Path) -> None:
    given = recipe()
    write_tables(tmp_path, given, "GPU", resnet18=(100, 150))
    with pytest.raises(
        NotMeasured, match=r"no table of any GPU for: shufflenet_v2_x0_5 \(64 px.*Run `mdmt sharing --recipe"
    ) as said:
        units_per_gpu(given, outline(given), tmp_path)
    assert "resnet18" not in str(said.value)


def test_tables_of_another_batch_are_none_of_this_recipe(tmp_path: Path) -> None:
    given = recipe()
    larger = recipe(training=given.training.model_copy(update={"batch_size": 32}).model_dump())
    write_tables(tmp_path, larger, "GPU", shufflenet_v2_x0_5=(1, 2), resnet18=(1, 2))
    with pytest.raises(NotMeasured, match="batch 16"):
        units_per_gpu(given, outline(given), tmp_path)


# --- in a study --------------------------------------------------------------------------------------------------------


class Watched:
    """An executor that remembers the jobs it was to do."""

    def run(self, schedule: Schedule) -> None:
        self.jobs = list(schedule.jobs.values())


@pytest.fixture
def study(new_home: Callable[[], Path]) -> Callable[[Recipe], tuple[Study, Watched]]:
    home = new_home()

    def make(of: Recipe) -> tuple[Study, Watched]:
        executor = Watched()
        made = Study(of, home, Tracking(default_uri(home), home), executor, 1)
        made.cohorts = list(COHORTS)
        return made, executor

    return make


def test_without_tables_a_study_stops_before_a_film_is_prepared(study: Callable[[Recipe], tuple[Study, Watched]]) -> None:
    made, executor = study(recipe())
    with pytest.raises(NotMeasured):
        made.run(Quiet())
    assert not hasattr(executor, "jobs")
    assert not (made.tracking.home / "films").exists()
    assert made.outline().distinct  # counting needs no table


def test_executors_see_a_number_and_share_gpus_by_it(study: Callable[[Recipe], tuple[Study, Watched]]) -> None:
    made, executor = study(recipe())
    write_tables(made.tracking.home, made.recipe, "GPU", shufflenet_v2_x0_5=(100, 190), resnet18=(100, 150))
    made.run_plan(make_plan(made.recipe, COHORTS, stores_of(COHORTS), None), Quiet())
    assert {job.running.units_per_gpu for job in executor.jobs} == {2}
    assert deal(executor.jobs, ["0"], 9, "here") == [("0",), ("0",)]
    assert made.recipe.running.units_per_gpu == "measured"


def test_a_job_that_nobody_settled_is_refused() -> None:
    with pytest.raises(ValueError, match="'measured' is no number"):
        assert Running(units_per_gpu="measured").sharers


# --- workers of this host ----------------------------------------------------------------------------------------------


def test_workers_are_those_that_were_measured_on_this_host_to_the_end(tmp_path: Path) -> None:
    given = recipe(device="cpu")
    assert workers_here(given, nobody_asks, tmp_path) is None
    write_tables(tmp_path, given, "another CPU", shufflenet_v2_x0_5=(1, 2, 2), resnet18=(1, 2, 2))
    assert workers_here(given, nobody_asks, tmp_path) is None
    write_tables(tmp_path, given, kind_of_cpu(), resnet18=(100, 150, 150))
    assert workers_here(given, outline(given), tmp_path) is None
    write_tables(tmp_path, given, kind_of_cpu(), shufflenet_v2_x0_5=(100, 150, 150))
    assert workers_here(given, outline(given), tmp_path) == 2


def test_where_one_more_worker_might_have_been_better_the_cores_decide(tmp_path: Path) -> None:
    given = recipe(device="cpu")
    write_tables(tmp_path, given, kind_of_cpu(), shufflenet_v2_x0_5=(100, 190), resnet18=(100, 190))
    assert workers_here(given, outline(given), tmp_path) is None


@pytest.mark.parametrize("changes", [{"device": "cuda"}, {"gpus_per_unit": 2}], ids=str)
def test_tables_of_a_host_say_nothing_about_gpus_or_units_of_several_processes(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    given = recipe(device="cpu", running={})
    write_tables(tmp_path, given, kind_of_cpu(), shufflenet_v2_x0_5=(100, 101), resnet18=(100, 101))
    assert workers_here(recipe(**{"device": "cpu", "running": {}, **changes}), nobody_asks, tmp_path) is None
